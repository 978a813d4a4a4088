-- A job may ask before it goes on: yes or no, in sentences with counts and no content. `rounds` counts how often it asked;
-- each round is a workflow of its own to the engine.

ALTER TABLE jobs
    ADD COLUMN questions jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN rounds    integer NOT NULL DEFAULT 0;

ALTER TABLE jobs DROP CONSTRAINT jobs_state_check;
ALTER TABLE jobs ADD CONSTRAINT jobs_state_check
    CHECK (state IN ('queued', 'running', 'waiting', 'completed', 'failed', 'cancelled'));

DROP INDEX one_open_job;
CREATE UNIQUE INDEX one_open_job ON jobs (customer_id) WHERE state IN ('queued', 'running', 'waiting');
CREATE INDEX jobs_waiting ON jobs (updated_at) WHERE state = 'waiting';
