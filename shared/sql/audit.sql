-- name: enter_platform()$
SELECT set_config('app.platform', 'on', true);

-- name: platform_setting()$
SELECT coalesce(current_setting('app.platform', true), '');

-- name: leave_platform(before)$
SELECT set_config('app.platform', :before, true);

-- name: lock_audit()$
SELECT pg_advisory_xact_lock(711000003);

-- name: last_entry()^
SELECT number, digest FROM audit ORDER BY number DESC LIMIT 1;

-- name: add_entry(number, at, actor, verb, customer_id, subject, detail, previous, digest)!
INSERT INTO audit (number, at, actor, verb, customer_id, subject, detail, previous, digest)
VALUES (:number, :at, :actor, :verb, :customer_id, :subject, :detail, :previous, :digest);

-- name: entries_after(number, limit)
SELECT number, at, actor, verb, customer_id, subject, detail, previous, digest
FROM audit
WHERE number > :number
ORDER BY number
LIMIT :limit;

-- name: entries_before(number, limit)
SELECT number, at, actor, verb, customer_id, subject, detail, previous, digest
FROM audit
WHERE number < :number
ORDER BY number DESC
LIMIT :limit;
