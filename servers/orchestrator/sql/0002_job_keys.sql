-- Every idempotency key that was answered with a job: also one that came while the job of the same request was open.

CREATE TABLE job_keys (
    created_by      text NOT NULL,
    idempotency_key text NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 200),
    customer_id     text NOT NULL REFERENCES customers,
    job_id          text NOT NULL REFERENCES jobs,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (created_by, idempotency_key)
);

ALTER TABLE job_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE job_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY own_job_keys ON job_keys
    USING (customer_id = current_setting('app.customer', true) OR current_setting('app.platform', true) = 'on')
    WITH CHECK (customer_id = current_setting('app.customer', true) OR current_setting('app.platform', true) = 'on');

SELECT set_config('app.platform', 'on', true);  -- the owner is under the policies as well

INSERT INTO job_keys (created_by, idempotency_key, customer_id, job_id, created_at)
SELECT created_by, idempotency_key, customer_id, job_id, created_at
FROM jobs
WHERE idempotency_key IS NOT NULL;

DROP INDEX jobs_by_key;
ALTER TABLE jobs DROP COLUMN idempotency_key;
