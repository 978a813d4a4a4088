-- name: claim_batch(batch_id, kept)$
INSERT INTO usage_batches (batch_id, added_at)
VALUES (:batch_id, CASE WHEN :kept::boolean THEN 'infinity' ELSE now() END)
ON CONFLICT (batch_id) DO NOTHING
RETURNING batch_id;

-- name: forget_batches(older_than_days)!
DELETE FROM usage_batches
WHERE added_at < now() - make_interval(days => :older_than_days);

-- name: add_usage(customers, days, servers, tools, calls, tokens, pages, bytes, failures)!
INSERT INTO usage (customer_id, day, server_name, tool, calls, tokens, pages, bytes, failures)
SELECT told.*
FROM unnest(:customers::text[], :days::date[], :servers::text[], :tools::text[],
            :calls::bigint[], :tokens::bigint[], :pages::bigint[], :bytes::bigint[],
            :failures::bigint[])
     AS told (customer_id, day, server_name, tool, calls, tokens, pages, bytes, failures)
JOIN customers c ON c.customer_id = told.customer_id
FOR KEY SHARE OF c
ON CONFLICT (customer_id, day, server_name, tool) DO UPDATE
SET calls = usage.calls + excluded.calls, tokens = usage.tokens + excluded.tokens,
    pages = usage.pages + excluded.pages, bytes = usage.bytes + excluded.bytes,
    failures = usage.failures + excluded.failures;

-- name: usage_of(since, until, start, limit)
SELECT customer_id, server_name, tool, sum(calls)::bigint AS calls, sum(tokens)::bigint AS tokens,
       sum(pages)::bigint AS pages, sum(bytes)::bigint AS bytes, sum(failures)::bigint AS failures,
       max(day) FILTER (WHERE failures > 0) AS failed_on
FROM usage
WHERE day >= :since AND day < :until
GROUP BY customer_id, server_name, tool
ORDER BY customer_id, server_name, tool
OFFSET :start
LIMIT :limit;

-- name: failed_of(since, until, start, limit)
SELECT customer_id, server_name, tool, sum(calls)::bigint AS calls, sum(tokens)::bigint AS tokens,
       sum(pages)::bigint AS pages, sum(bytes)::bigint AS bytes, sum(failures)::bigint AS failures,
       max(day) AS failed_on
FROM usage
WHERE day >= :since AND day < :until AND failures > 0
GROUP BY customer_id, server_name, tool
ORDER BY failed_on DESC, failures DESC, customer_id, server_name, tool
OFFSET :start
LIMIT :limit;

-- name: totals_of(since, until)^
SELECT coalesce(sum(calls), 0)::bigint AS calls, coalesce(sum(tokens), 0)::bigint AS tokens,
       coalesce(sum(pages), 0)::bigint AS pages, coalesce(sum(bytes), 0)::bigint AS bytes,
       coalesce(sum(failures), 0)::bigint AS failures
FROM usage
WHERE day >= :since AND day < :until;

-- name: active_customers(since, until)
SELECT DISTINCT customer_id
FROM usage
WHERE day >= :since AND day < :until AND (calls > 0 OR tokens > 0 OR pages > 0 OR bytes > 0)
ORDER BY customer_id;
