-- name: lease(key, customer_id, most, block)^
INSERT INTO quotas (key, customer_id, started, used, granted)
VALUES (:key, :customer_id, date_trunc('minute', now()), least(:block::bigint, :most::bigint),
        least(:block::bigint, :most::bigint))
ON CONFLICT (key) DO UPDATE
SET granted = least(:block::bigint,
                    greatest(:most::bigint - CASE WHEN quotas.started >= excluded.started THEN quotas.used ELSE 0 END, 0)),
    used = CASE WHEN quotas.started >= excluded.started
                THEN quotas.used + least(:block::bigint, greatest(:most::bigint - quotas.used, 0))
                ELSE least(:block::bigint, :most::bigint) END,
    started = greatest(quotas.started, excluded.started)
RETURNING granted, extract(epoch FROM started + interval '1 minute' - now())::float8 AS left_s;

-- name: forget_old()!
DELETE FROM quotas
WHERE key IN (SELECT key FROM quotas WHERE started < now() - interval '1 hour' LIMIT 100 FOR UPDATE SKIP LOCKED);
