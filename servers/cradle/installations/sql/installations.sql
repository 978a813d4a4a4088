-- name: lock_customer(customer_id)$
SELECT pg_advisory_xact_lock(hashtextextended('installations ' || :customer_id::text, 0));

-- name: add_version(customer_id, fingerprint, parameters, probes_digest, probe_vectors, dimension)^
INSERT INTO installations
    (customer_id, version, fingerprint, parameters, probes_digest, probe_vectors, dimension)
SELECT :customer_id::text, coalesce(max(version), 0) + 1, :fingerprint, :parameters, :probes_digest, :probe_vectors, :dimension
FROM installations
WHERE customer_id = :customer_id
RETURNING customer_id, version, fingerprint, parameters, probes_digest, created_at;

-- name: select_version(customer_id, version)!
INSERT INTO selections (customer_id, version)
SELECT :customer_id::text, :version::integer
WHERE :version::integer IS DISTINCT FROM
    (SELECT version FROM selections WHERE customer_id = :customer_id ORDER BY number DESC LIMIT 1);

-- name: version(customer_id, version)^
SELECT customer_id, version, fingerprint, parameters, probes_digest, created_at
FROM installations
WHERE customer_id = :customer_id AND version = :version;

-- name: version_by_fingerprint(customer_id, fingerprint)^
SELECT customer_id, version, fingerprint, parameters, probes_digest, created_at
FROM installations
WHERE customer_id = :customer_id AND fingerprint = :fingerprint;

-- name: current_version(customer_id)^
SELECT i.customer_id, i.version, i.fingerprint, i.parameters, i.probes_digest, i.created_at
FROM selections s
JOIN installations i USING (customer_id, version)
WHERE s.customer_id = :customer_id
ORDER BY s.number DESC
LIMIT 1;

-- name: versions(customer_id)
SELECT customer_id, version, fingerprint, parameters, probes_digest, created_at
FROM installations
WHERE customer_id = :customer_id
ORDER BY version;

-- name: probe_vectors(customer_id, version)^
SELECT probe_vectors, dimension
FROM installations
WHERE customer_id = :customer_id AND version = :version;
