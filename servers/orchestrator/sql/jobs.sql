-- name: enter_platform()$
SELECT set_config('app.platform', 'on', true);

-- name: leave_platform()$
SELECT set_config('app.platform', '', true);

-- name: lock_customer(customer_id)$
SELECT pg_advisory_xact_lock(hashtextextended('orchestrator:' || :customer_id, 0))::text;

-- name: customer_by_id(customer_id)^
SELECT customer_id, company_name, contact_email, deployment_target, mcps, partner_id, state,
       request_digest, sources_digest, created_at, updated_at,
       (SELECT jobs.state FROM jobs WHERE jobs.customer_id = customers.customer_id
        ORDER BY jobs.created_at DESC LIMIT 1) AS newest_job
FROM customers
WHERE customer_id = :customer_id;

-- name: list_customers(after, partner, limit)
SELECT customer_id, company_name, contact_email, deployment_target, mcps, partner_id, state,
       request_digest, sources_digest, created_at, updated_at,
       (SELECT jobs.state FROM jobs WHERE jobs.customer_id = customers.customer_id
        ORDER BY jobs.created_at DESC LIMIT 1) AS newest_job
FROM customers
WHERE customer_id > :after AND (:partner::text IS NULL OR partner_id = :partner)
ORDER BY customer_id
LIMIT :limit;

-- name: put_customer(customer_id, company_name, contact_email, deployment_target, mcps, partner_id, request_digest, sources_digest)!
INSERT INTO customers (customer_id, company_name, contact_email, deployment_target, mcps, partner_id, state,
                       request_digest, sources_digest)
VALUES (:customer_id, :company_name, :contact_email, :deployment_target, :mcps, :partner_id, 'onboarding',
        :request_digest, :sources_digest)
ON CONFLICT (customer_id) DO UPDATE
SET company_name = excluded.company_name, contact_email = excluded.contact_email,
    deployment_target = excluded.deployment_target, mcps = excluded.mcps, request_digest = excluded.request_digest,
    sources_digest = excluded.sources_digest, updated_at = now()
WHERE customers.state = 'onboarding';

-- name: put_sources(sources_digest, customer_id)!
UPDATE customers
SET sources_digest = :sources_digest, updated_at = now()
WHERE customer_id = :customer_id;

-- name: activate_customer(customer_id)!
UPDATE customers
SET state = 'active', updated_at = now()
WHERE customer_id = :customer_id AND state <> 'active';

-- name: add_job(job_id, customer_id, kind, steps, result, choice, request_digest, created_by)!
INSERT INTO jobs (job_id, customer_id, kind, steps, result, choice, request_digest, created_by, created_at)
VALUES (:job_id, :customer_id, :kind, :steps::jsonb, :result::jsonb, :choice::jsonb, :request_digest, :created_by,
        -- after the customer's other jobs, also where the clock was set back since
        greatest(now(), (SELECT max(created_at) + interval '1 microsecond' FROM jobs WHERE customer_id = :customer_id)));

-- name: add_key(created_by, idempotency_key, customer_id, job_id)!
INSERT INTO job_keys (created_by, idempotency_key, customer_id, job_id)
VALUES (:created_by, :idempotency_key, :customer_id, :job_id);

-- name: job_by_id(job_id)^
SELECT job_id, customer_id, kind, state, steps, progress, result, error, choice, questions, rounds, request_digest,
       created_at, updated_at
FROM jobs
WHERE job_id = :job_id;

-- name: job_by_key(created_by, idempotency_key)^
SELECT job_id, customer_id, kind, state, steps, progress, result, error, choice, questions, rounds, request_digest,
       created_at, updated_at
FROM jobs
WHERE job_id = (SELECT job_id FROM job_keys WHERE created_by = :created_by AND idempotency_key = :idempotency_key);

-- name: open_job(customer_id)^
SELECT job_id, customer_id, kind, state, steps, progress, result, error, choice, questions, rounds, request_digest,
       created_at, updated_at
FROM jobs
WHERE customer_id = :customer_id AND state IN ('queued', 'running', 'waiting');

-- name: last_job(customer_id, kind)^
SELECT job_id, customer_id, kind, state, steps, progress, result, error, choice, questions, rounds, request_digest,
       created_at, updated_at
FROM jobs
WHERE customer_id = :customer_id AND kind = :kind
ORDER BY created_at DESC, job_id
LIMIT 1;

-- name: last_job_with_dataset(customer_id)^
SELECT job_id, customer_id, kind, state, steps, progress, result, error, choice, questions, rounds, request_digest,
       created_at, updated_at
FROM jobs
WHERE customer_id = :customer_id AND result -> 'digests' ? 'dataset'
ORDER BY created_at DESC, job_id
LIMIT 1;

-- name: last_delivery(customer_id)^
SELECT job_id, customer_id, kind, state, steps, progress, result, error, choice, questions, rounds, request_digest,
       created_at, updated_at
FROM jobs
WHERE customer_id = :customer_id AND state = 'completed' AND result -> 'digests' ? 'image'
ORDER BY created_at DESC, job_id
LIMIT 1;

-- name: jobs_of_customer(customer_id, limit)
SELECT job_id, customer_id, kind, state, steps, progress, result, error, choice, questions, rounds, request_digest,
       created_at, updated_at
FROM jobs
WHERE customer_id = :customer_id
ORDER BY created_at DESC, job_id
LIMIT :limit;

-- name: jobs_to_hand_out(limit)
SELECT job_id, customer_id, rounds
FROM jobs
WHERE state = 'queued' AND handed_out_at IS NULL
ORDER BY created_at, job_id
LIMIT :limit;

-- name: handed_out(job_id, rounds)!
UPDATE jobs
SET handed_out_at = coalesce(handed_out_at, now())
WHERE job_id = :job_id AND rounds = :rounds;

-- name: cancelled_among(job_ids)
SELECT job_id
FROM jobs
WHERE job_id = ANY(:job_ids) AND state = 'cancelled';

-- name: begin_step(position, job_id, rounds)!
UPDATE jobs
SET state = 'running', updated_at = now(), progress = '{}',
    steps = jsonb_set(steps, ARRAY[:position, 'state'], '"running"')
WHERE job_id = :job_id AND state IN ('queued', 'running') AND rounds = :rounds;

-- name: report_progress(progress, job_id)!
UPDATE jobs
SET progress = :progress::jsonb, updated_at = now()
WHERE job_id = :job_id AND state = 'running';

-- name: end_step(result, position, step, job_id, rounds)!
UPDATE jobs
SET updated_at = now(), progress = '{}', result = :result::jsonb,
    steps = jsonb_set(steps, ARRAY[:position], steps -> :position::int || :step::jsonb)
WHERE job_id = :job_id AND state = 'running' AND rounds = :rounds;

-- name: complete_job(job_id, rounds)!
UPDATE jobs
SET state = 'completed', updated_at = now(), progress = '{}'
WHERE job_id = :job_id AND state IN ('queued', 'running') AND rounds = :rounds;

-- name: fail_job(error, job_id, rounds)!
UPDATE jobs
SET state = 'failed', error = :error::jsonb, updated_at = now(), progress = '{}',
    steps = (SELECT coalesce(jsonb_agg(CASE WHEN step ->> 'state' = 'running'
                                            THEN jsonb_set(step, '{state}', '"failed"') ELSE step END ORDER BY position), '[]')
             FROM jsonb_array_elements(steps) WITH ORDINALITY AS each (step, position))
WHERE job_id = :job_id AND state IN ('queued', 'running') AND rounds = :rounds;

-- name: cancel_job(job_id)!
UPDATE jobs
SET state = 'cancelled', updated_at = now(), progress = '{}',
    steps = (SELECT coalesce(jsonb_agg(CASE WHEN step ->> 'state' = 'running'
                                            THEN jsonb_set(step, '{state}', '"pending"') ELSE step END ORDER BY position), '[]')
             FROM jsonb_array_elements(steps) WITH ORDINALITY AS each (step, position))
WHERE job_id = :job_id AND state IN ('queued', 'running', 'waiting');

-- name: ask(questions, position, job_id, rounds)!
UPDATE jobs
SET state = 'waiting', rounds = rounds + 1, questions = questions || :questions::jsonb, updated_at = now(), progress = '{}',
    steps = jsonb_set(steps, ARRAY[:position, 'state'], '"pending"')
WHERE job_id = :job_id AND state = 'running' AND rounds = :rounds;

-- name: answer(questions, state, job_id)!
UPDATE jobs
SET state = :state, questions = :questions::jsonb, updated_at = now(),
    handed_out_at = CASE WHEN :state = 'queued' THEN NULL ELSE handed_out_at END
WHERE job_id = :job_id AND state = 'waiting';

-- name: standstill()$
SELECT coalesce(extract(epoch FROM max(now() - updated_at)), 0)::float8
FROM jobs
WHERE state IN ('queued', 'running');

-- name: stop_waiting(seconds)!
UPDATE jobs
SET state = 'queued', handed_out_at = NULL, updated_at = now(),
    questions = (SELECT jsonb_agg(CASE WHEN question -> 'answer' = 'null'
                                       THEN jsonb_set(question, '{answer}', 'false') ELSE question END ORDER BY position)
                 FROM jsonb_array_elements(questions) WITH ORDINALITY AS each (question, position))
WHERE state = 'waiting' AND updated_at < now() - make_interval(secs => :seconds);
