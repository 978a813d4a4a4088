-- Customers and their jobs. No content: no place of a source, no file name, no text; digests, counts and times only.
--
-- Row-level security reads two settings of the transaction:
--   app.customer  the one customer whose rows are seen and written
--   app.platform  'on' for work across customers: listing for an administrator, handing out jobs

CREATE TABLE customers (
    customer_id       text PRIMARY KEY CHECK (customer_id ~ '^[a-z][a-z0-9]*(-[a-z0-9]+)*$' AND length(customer_id) <= 40),
    company_name      text NOT NULL CHECK (length(company_name) BETWEEN 1 AND 200),
    contact_email     text NOT NULL CHECK (length(contact_email) BETWEEN 3 AND 254),
    deployment_target text NOT NULL,
    mcps              text[] NOT NULL DEFAULT '{}',
    partner_id        text,
    state             text NOT NULL CHECK (state IN ('onboarding', 'active')),
    request_digest    text NOT NULL CHECK (request_digest ~ '^sha256:[0-9a-f]{64}$'),
    sources_digest    text NOT NULL CHECK (sources_digest ~ '^sha256:[0-9a-f]{64}$'),
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE jobs (
    job_id          text PRIMARY KEY CHECK (job_id ~ '^job_[a-z2-7]{26}$'),
    customer_id     text NOT NULL REFERENCES customers,
    kind            text NOT NULL CHECK (kind IN ('onboarding', 'update', 'build', 'verification')),
    state           text NOT NULL DEFAULT 'queued'
                    CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    steps           jsonb NOT NULL DEFAULT '[]',
    progress        jsonb NOT NULL DEFAULT '{}',
    result          jsonb NOT NULL DEFAULT '{}',
    error           jsonb,
    choice          jsonb,
    request_digest  text NOT NULL CHECK (request_digest ~ '^sha256:[0-9a-f]{64}$'),
    idempotency_key text CHECK (length(idempotency_key) BETWEEN 1 AND 200),
    created_by      text NOT NULL,
    handed_out_at   timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX jobs_of_customer ON jobs (customer_id, created_at DESC);
CREATE UNIQUE INDEX jobs_by_key ON jobs (created_by, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX one_open_job ON jobs (customer_id) WHERE state IN ('queued', 'running');
CREATE INDEX jobs_not_handed_out ON jobs (created_at) WHERE state = 'queued' AND handed_out_at IS NULL;

ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
ALTER TABLE customers FORCE ROW LEVEL SECURITY;
CREATE POLICY own_customer ON customers
    USING (customer_id = current_setting('app.customer', true) OR current_setting('app.platform', true) = 'on')
    WITH CHECK (customer_id = current_setting('app.customer', true) OR current_setting('app.platform', true) = 'on');

ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobs FORCE ROW LEVEL SECURITY;
CREATE POLICY own_jobs ON jobs
    USING (customer_id = current_setting('app.customer', true) OR current_setting('app.platform', true) = 'on')
    WITH CHECK (customer_id = current_setting('app.customer', true) OR current_setting('app.platform', true) = 'on');
