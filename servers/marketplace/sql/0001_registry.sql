-- Users, keys, services, customers, the catalogue and what is installed.
--
-- Row-level security reads three settings of the transaction:
--   app.customer  the one customer whose rows are seen and written
--   app.login     the one e-mail address, user id or key id that is being authenticated
--   app.platform  'on' for work of the platform itself, across customers

CREATE TABLE customers (
    customer_id   text PRIMARY KEY CHECK (customer_id ~ '^[a-z][a-z0-9]*(-[a-z0-9]+)*$' AND length(customer_id) <= 40),
    company_name  text NOT NULL CHECK (length(company_name) BETWEEN 1 AND 200),
    contact_email text NOT NULL CHECK (length(contact_email) BETWEEN 3 AND 254),
    partner_id    text,
    created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE users (
    user_id       text PRIMARY KEY,
    email         text NOT NULL UNIQUE CHECK (email = lower(email) AND length(email) <= 254),
    password_hash text NOT NULL,
    role          text NOT NULL CHECK (role IN ('platform_admin', 'partner_admin', 'customer_admin', 'customer_user')),
    customer_id   text REFERENCES customers,
    failed_logins integer NOT NULL DEFAULT 0,
    locked_until  timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    disabled_at   timestamptz,
    CHECK ((role IN ('customer_admin', 'customer_user')) = (customer_id IS NOT NULL))
);

CREATE INDEX users_of_customer ON users (customer_id);

CREATE TABLE api_keys (
    key_id        text PRIMARY KEY,
    user_id       text NOT NULL REFERENCES users,
    customer_id   text REFERENCES customers,
    secret_sha256 bytea NOT NULL CHECK (length(secret_sha256) = 32),
    created_at    timestamptz NOT NULL DEFAULT now(),
    revoked_at    timestamptz
);

CREATE INDEX api_keys_of_user ON api_keys (user_id);

CREATE TABLE services (
    client_id     text PRIMARY KEY,
    secret_sha256 bytea NOT NULL CHECK (length(secret_sha256) = 32),
    created_at    timestamptz NOT NULL DEFAULT now(),
    disabled_at   timestamptz
);

CREATE TABLE catalogue_entries (
    server_name   text PRIMARY KEY CHECK (server_name ~ '^[a-z0-9][a-z0-9.-]*/[a-z0-9][a-z0-9._-]*$'),
    title         text NOT NULL,
    description   text NOT NULL,
    version       text NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('platform', 'instance', 'external')),
    customer_id   text REFERENCES customers,
    url           text,
    approval      text NOT NULL CHECK (approval IN ('submitted', 'approved', 'suspended')),
    tools         jsonb NOT NULL DEFAULT '[]',
    registered_by text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CHECK (kind <> 'instance' OR customer_id IS NOT NULL)
);

CREATE INDEX catalogue_entries_by_url ON catalogue_entries (url);

CREATE TABLE installs (
    customer_id  text NOT NULL REFERENCES customers,
    server_name  text NOT NULL REFERENCES catalogue_entries,
    installed_by text NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, server_name)
);

ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
ALTER TABLE customers FORCE ROW LEVEL SECURITY;
CREATE POLICY own_customer ON customers
    USING (customer_id = current_setting('app.customer', true) OR current_setting('app.platform', true) = 'on')
    WITH CHECK (customer_id = current_setting('app.customer', true) OR current_setting('app.platform', true) = 'on');

ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE users FORCE ROW LEVEL SECURITY;
CREATE POLICY own_users ON users
    USING (customer_id = current_setting('app.customer', true)
           OR current_setting('app.login', true) IN (email, user_id)
           OR current_setting('app.platform', true) = 'on')
    WITH CHECK (customer_id = current_setting('app.customer', true)
                OR current_setting('app.login', true) IN (email, user_id)
                OR current_setting('app.platform', true) = 'on');

ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE api_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY own_keys ON api_keys
    USING (customer_id = current_setting('app.customer', true)
           OR current_setting('app.login', true) = key_id
           OR current_setting('app.platform', true) = 'on')
    WITH CHECK (customer_id = current_setting('app.customer', true) OR current_setting('app.platform', true) = 'on');

ALTER TABLE catalogue_entries ENABLE ROW LEVEL SECURITY;
ALTER TABLE catalogue_entries FORCE ROW LEVEL SECURITY;
CREATE POLICY visible_entries ON catalogue_entries
    USING (customer_id = current_setting('app.customer', true)
           OR customer_id IS NULL
           OR current_setting('app.platform', true) = 'on')
    WITH CHECK (customer_id = current_setting('app.customer', true) OR current_setting('app.platform', true) = 'on');

ALTER TABLE installs ENABLE ROW LEVEL SECURITY;
ALTER TABLE installs FORCE ROW LEVEL SECURITY;
CREATE POLICY own_installs ON installs
    USING (customer_id = current_setting('app.customer', true) OR current_setting('app.platform', true) = 'on')
    WITH CHECK (customer_id = current_setting('app.customer', true) OR current_setting('app.platform', true) = 'on');
