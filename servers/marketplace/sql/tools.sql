-- name: tools_of(server_name)
SELECT name, pin, pinned, seen, seen_definition
FROM server_tools
WHERE server_name = :server_name
ORDER BY place, name;

-- name: check_of(server_name)^
SELECT era, checked_at IS NOT NULL AS checked
FROM server_checks
WHERE server_name = :server_name;

-- name: begin_check(server_name, url, version)$
UPDATE server_checks c
SET begun = c.begun + 1
FROM catalogue_entries e
WHERE c.server_name = :server_name AND e.server_name = c.server_name AND e.url = :url AND e.version = :version
RETURNING c.begun;

-- name: lock_check(server_name)^
SELECT checked_at IS NOT NULL AS checked, told
FROM server_checks
WHERE server_name = :server_name
FOR UPDATE;

-- name: put_seen(server_name, customer_id, name, place, pin, pinned, seen, seen_definition)!
INSERT INTO server_tools (server_name, customer_id, name, place, pin, pinned, seen, seen_definition)
VALUES (:server_name, :customer_id, :name, :place, :pin, :pinned, :seen, :seen_definition)
ON CONFLICT (server_name, name) DO UPDATE
SET place = excluded.place, seen = excluded.seen, seen_definition = excluded.seen_definition,
    pinned = CASE WHEN server_tools.pin = excluded.seen THEN excluded.seen_definition ELSE server_tools.pinned END;

-- name: mark_gone(server_name, names)!
UPDATE server_tools
SET seen = NULL, seen_definition = NULL
WHERE server_name = :server_name AND name <> ALL (:names::text[]) AND seen IS NOT NULL;

-- name: put_check(era, due_s, told, server_name)!
UPDATE server_checks
SET era = :era, checked_at = now(), due_at = now() + make_interval(secs => :due_s), told = :told
WHERE server_name = :server_name;

-- name: claim_due(hold_s)$
UPDATE server_checks
SET due_at = now() + make_interval(secs => :hold_s)
WHERE server_name = (
    SELECT c.server_name
    FROM server_checks c
    JOIN catalogue_entries e USING (server_name)
    WHERE c.due_at <= now() AND e.url IS NOT NULL AND e.package IS NULL AND e.approval = 'approved'
      AND EXISTS (SELECT FROM installs i WHERE i.server_name = c.server_name)
    ORDER BY c.due_at
    LIMIT 1
    FOR UPDATE OF c SKIP LOCKED)
RETURNING server_name;

-- name: approve_seen(approved_by, server_name)!
UPDATE server_tools
SET pin = seen, pinned = seen_definition, approved_by = :approved_by
WHERE server_name = :server_name AND seen IS NOT NULL AND pin IS DISTINCT FROM seen;

-- name: forget_gone(server_name)!
DELETE FROM server_tools
WHERE server_name = :server_name AND seen IS NULL;

-- name: pins_of(names)
SELECT server_name, name, pin
FROM server_tools
WHERE server_name = ANY (:names::text[]) AND pin = seen AND pinned IS NOT NULL
ORDER BY server_name, place, name;
