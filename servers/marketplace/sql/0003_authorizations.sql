-- What a user has allowed a client (OAuth 2.1): one row from consent to the last refresh. It holds no secret: codes and
-- refresh tokens are sealed by the marketplace's key, and the row says which of them is the current one.

CREATE TABLE authorizations (
    session_id     text PRIMARY KEY CHECK (session_id ~ '^ses_[a-z2-7]{26}$'),
    user_id        text NOT NULL REFERENCES users,
    customer_id    text REFERENCES customers,
    acts_for       text REFERENCES customers,
    client_sha256  bytea NOT NULL CHECK (length(client_sha256) = 32),
    resource       text NOT NULL CHECK (length(resource) <= 500),
    scope          text NOT NULL CHECK (length(scope) <= 2000),
    code_challenge text NOT NULL CHECK (code_challenge ~ '^[A-Za-z0-9_-]{43}$'),
    redirect_uri   text NOT NULL CHECK (length(redirect_uri) <= 2000),
    redirect_named boolean NOT NULL,
    code_used_at   timestamptz,
    refresh_number integer NOT NULL DEFAULT 0,
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL,
    revoked_at     timestamptz
);

CREATE INDEX authorizations_of_user ON authorizations (user_id);

ALTER TABLE authorizations ENABLE ROW LEVEL SECURITY;
ALTER TABLE authorizations FORCE ROW LEVEL SECURITY;
CREATE POLICY own_authorizations ON authorizations
    USING (customer_id = nullif(current_setting('app.customer', true), '')
           OR current_setting('app.login', true) IN (session_id, user_id)
           OR current_setting('app.platform', true) = 'on')
    WITH CHECK (customer_id = nullif(current_setting('app.customer', true), '')
                OR current_setting('app.login', true) IN (session_id, user_id)
                OR current_setting('app.platform', true) = 'on');

CREATE TRIGGER authorizations_revoked AFTER UPDATE OF revoked_at ON authorizations
    FOR EACH STATEMENT EXECUTE FUNCTION tell_replicas('accounts');
