-- name: add_authorization(session_id, user_id, customer_id, acts_for, client_sha256, resource, scope, code_challenge, redirect_uri, redirect_named, lasts_s)!
INSERT INTO authorizations
    (session_id, user_id, customer_id, acts_for, client_sha256, resource, scope, code_challenge, redirect_uri,
     redirect_named, expires_at)
VALUES (:session_id, :user_id, :customer_id, :acts_for, :client_sha256, :resource, :scope, :code_challenge,
        :redirect_uri, :redirect_named, now() + make_interval(secs => :lasts_s));

-- name: forget_authorizations(user_id)!
DELETE FROM authorizations
WHERE user_id = :user_id AND expires_at < now() - interval '30 days';

-- name: authorization_of(session_id)^
SELECT session_id, user_id, acts_for, client_sha256, resource, scope, code_challenge, redirect_uri, redirect_named,
       extract(epoch FROM created_at)::float8 AS created_at, revoked_at IS NULL AND expires_at > now() AS stands
FROM authorizations
WHERE session_id = :session_id;

-- name: let_in_by(user_id, limit)
SELECT session_id, redirect_uri, resource, scope, acts_for, created_at, expires_at
FROM authorizations
WHERE user_id = :user_id AND code_used_at IS NOT NULL AND revoked_at IS NULL AND expires_at > now()
ORDER BY created_at DESC, session_id
LIMIT :limit;

-- name: use_code(session_id)^
UPDATE authorizations
SET code_used_at = now()
WHERE session_id = :session_id AND code_used_at IS NULL AND revoked_at IS NULL
RETURNING session_id;

-- name: rotate(session_id, number)^
UPDATE authorizations
SET refresh_number = refresh_number + 1
WHERE session_id = :session_id AND refresh_number = :number AND revoked_at IS NULL AND expires_at > now()
RETURNING session_id;

-- name: revoke(session_id)^
UPDATE authorizations
SET revoked_at = now()
WHERE session_id = :session_id AND revoked_at IS NULL
RETURNING user_id, customer_id;
