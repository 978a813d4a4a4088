-- name: enter_login(identity)$
SELECT set_config('app.login', :identity, true);

-- name: database_time()$
SELECT extract(epoch FROM clock_timestamp())::float8;

-- name: user_by_email(email)^
SELECT user_id, email, password_hash, role, customer_id, disabled_at,
       locked_until IS NOT NULL AND locked_until > now() AS locked
FROM users
WHERE email = :email;

-- name: user_by_id(user_id)^
SELECT user_id, email, role, customer_id, disabled_at
FROM users
WHERE user_id = :user_id;

-- name: accounts_after(after, customer_id, limit)
SELECT user_id, email, role, customer_id, disabled_at, created_at
FROM users
WHERE disabled_at IS NULL AND user_id > :after AND (:customer_id::text IS NULL OR customer_id = :customer_id)
ORDER BY user_id
LIMIT :limit;

-- name: account_of(user_id, customer_id)^
SELECT user_id
FROM users
WHERE user_id = :user_id AND (:customer_id::text IS NULL OR customer_id = :customer_id);

-- name: record_failure(limit, lock_s, user_id)!
UPDATE users
SET failed_logins = failed_logins + 1,
    locked_until = CASE WHEN failed_logins + 1 >= :limit THEN now() + make_interval(secs => :lock_s) ELSE locked_until END
WHERE user_id = :user_id;

-- name: record_success(user_id)!
UPDATE users
SET failed_logins = 0, locked_until = NULL
WHERE user_id = :user_id AND failed_logins > 0 AND (locked_until IS NULL OR locked_until <= now());

-- name: not_locked(user_id)^
SELECT user_id
FROM users
WHERE user_id = :user_id AND (locked_until IS NULL OR locked_until <= now());

-- name: take_turn(owner)$
SELECT pg_advisory_xact_lock(hashtextextended('accounts ' || :owner, 0));

-- name: count_accounts(customer_id)$
SELECT count(*)
FROM users
WHERE customer_id IS NOT DISTINCT FROM :customer_id AND disabled_at IS NULL;

-- name: add_user(user_id, email, password_hash, role, customer_id, created_by)!
INSERT INTO users (user_id, email, password_hash, role, customer_id, created_by)
VALUES (:user_id, :email, :password_hash, :role, :customer_id, :created_by)
ON CONFLICT (email) DO NOTHING;

-- name: set_password(password_hash, user_id)!
UPDATE users
SET password_hash = :password_hash, failed_logins = 0, locked_until = NULL
WHERE user_id = :user_id;

-- The row stays, for other rows and the audit log name it; what tells who the person was goes. The operator's own account
-- keeps its name: the next start would make another one in its place.
-- name: disable_user(user_id)!
UPDATE users
SET disabled_at = coalesce(disabled_at, now()), password_hash = '',
    email = CASE WHEN created_by = 'platform' OR (created_by IS NULL AND role = 'platform_admin') THEN email
            ELSE user_id || '@ended.invalid' END
WHERE user_id = :user_id;

-- name: forget_invitation_of(user_id)!
DELETE FROM invitations
WHERE accepted_by = :user_id;

-- name: revoke_keys_of_user(user_id)!
UPDATE api_keys
SET revoked_at = coalesce(revoked_at, now())
WHERE user_id = :user_id;

-- name: key_by_id(key_id)^
SELECT key_id, user_id, secret_sha256, revoked_at
FROM api_keys
WHERE key_id = :key_id;

-- name: put_key(key_id, user_id, customer_id, secret_sha256)!
INSERT INTO api_keys (key_id, user_id, customer_id, secret_sha256)
VALUES (:key_id, :user_id, :customer_id, :secret_sha256)
ON CONFLICT (key_id) DO UPDATE SET secret_sha256 = excluded.secret_sha256
WHERE api_keys.secret_sha256 <> excluded.secret_sha256;

-- name: service_by_id(client_id)^
SELECT client_id, secret_sha256, disabled_at
FROM services
WHERE client_id = :client_id;

-- name: put_service(client_id, secret_sha256)!
INSERT INTO services (client_id, secret_sha256)
VALUES (:client_id, :secret_sha256)
ON CONFLICT (client_id) DO UPDATE SET secret_sha256 = excluded.secret_sha256
WHERE services.secret_sha256 <> excluded.secret_sha256;

-- name: customer_by_id(customer_id)^
SELECT customer_id, company_name, contact_email, partner_id
FROM customers
WHERE customer_id = :customer_id;

-- name: add_customer(customer_id, company_name, contact_email, partner_id)!
INSERT INTO customers (customer_id, company_name, contact_email, partner_id)
VALUES (:customer_id, :company_name, :contact_email, :partner_id)
ON CONFLICT (customer_id) DO NOTHING;

-- name: ended_lately(within_s)
SELECT user_id AS name FROM users WHERE disabled_at > now() - make_interval(secs => :within_s)
UNION ALL
SELECT key_id FROM api_keys WHERE revoked_at > now() - make_interval(secs => :within_s)
UNION ALL
SELECT session_id FROM authorizations WHERE revoked_at > now() - make_interval(secs => :within_s)
UNION ALL
SELECT client_id FROM services WHERE disabled_at > now() - make_interval(secs => :within_s);

-- name: session_stands(session_id)^
SELECT session_id
FROM authorizations
WHERE session_id = :session_id AND revoked_at IS NULL AND expires_at > now();

-- name: keys_of_user(user_id)
SELECT key_id, created_at
FROM api_keys
WHERE user_id = :user_id AND revoked_at IS NULL
ORDER BY created_at, key_id;

-- name: count_keys(user_id)$
SELECT count(*)
FROM api_keys
WHERE user_id = :user_id AND revoked_at IS NULL;

-- name: revoke_key(key_id, user_id)!
UPDATE api_keys
SET revoked_at = now()
WHERE key_id = :key_id AND user_id = :user_id AND revoked_at IS NULL;

-- name: revoke_invitations_to(customer_id, email)!
UPDATE invitations
SET state = 'revoked'
WHERE customer_id IS NOT DISTINCT FROM :customer_id AND email = :email AND state = 'open';

-- name: revoke_invitations_of_user(user_id)!
UPDATE invitations
SET state = 'revoked'
WHERE invited_by = :user_id AND state = 'open';
