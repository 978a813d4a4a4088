-- name: add_approval(approval_id, customer_id, requested_by, server_name, tool, arguments, pin, policy, change_id, changed_rows, lasts_s)^
INSERT INTO approvals
    (approval_id, customer_id, requested_by, server_name, tool, arguments, pin, policy, change_id, changed_rows,
     expires_at)
VALUES (:approval_id, :customer_id, :requested_by, :server_name, :tool, :arguments, :pin, :policy, :change_id,
        :changed_rows, now() + make_interval(secs => :lasts_s))
RETURNING approval_id, requested_by, server_name, tool, arguments, pin, policy, change_id, changed_rows, state,
          decided_by, expires_at, true AS open;

-- name: approval_of(approval_id)^
SELECT approval_id, requested_by, server_name, tool, arguments, pin, policy, change_id, changed_rows, state, decided_by,
       expires_at, expires_at > now() AS open
FROM approvals
WHERE approval_id = :approval_id;

-- name: open_approvals(after, states, limit)
SELECT approval_id, requested_by, server_name, tool, arguments, pin, policy, change_id, changed_rows, state, decided_by,
       expires_at, true AS open
FROM approvals
WHERE state = ANY(:states) AND expires_at > now()
  AND (:after = '' OR (created_at, approval_id)
       > (SELECT before.created_at, before.approval_id FROM approvals AS before WHERE before.approval_id = :after))
ORDER BY created_at, approval_id
LIMIT :limit;

-- name: first_of_line(user_id)^
WITH RECURSIVE line AS (
    SELECT user_id, created_by, 0 AS steps FROM users WHERE user_id = :user_id
    UNION ALL
    SELECT maker.user_id, maker.created_by, line.steps + 1 FROM users AS maker JOIN line ON maker.user_id = line.created_by
)
SELECT user_id, created_by FROM line ORDER BY steps DESC LIMIT 1;

-- name: decide(approval_id, state, decided_by, lasts_s)^
UPDATE approvals
SET state = :state, decided_by = :decided_by, decided_at = now(), expires_at = now() + make_interval(secs => :lasts_s)
WHERE approval_id = :approval_id AND state = 'waiting' AND expires_at > now() AND requested_by <> :decided_by
RETURNING approval_id, requested_by, server_name, tool, arguments, pin, policy, change_id, changed_rows, state,
          decided_by, expires_at, true AS open;

-- name: dispatch(approval_id, requested_by, arguments, pin, policy)^
UPDATE approvals
SET state = 'dispatched', dispatched_at = now()
WHERE approval_id = :approval_id AND state = 'approved' AND expires_at > now() AND requested_by = :requested_by
  AND arguments = :arguments AND pin = :pin AND policy = :policy
RETURNING approval_id;

-- name: settle(approval_id, state)!
UPDATE approvals
SET state = :state
WHERE approval_id = :approval_id AND state = 'dispatched';
