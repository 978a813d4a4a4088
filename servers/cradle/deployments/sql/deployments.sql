-- name: deployments(customer_id)
SELECT host, port, state, tag, image_digest, dataset_digest, fingerprint
FROM deployments
WHERE customer_id = :customer_id
ORDER BY host;

-- name: reserve_port(customer_id, host, port)^
INSERT INTO deployments (customer_id, host, port)
VALUES (:customer_id, :host, :port)
ON CONFLICT DO NOTHING
RETURNING host, port, state, tag, image_digest, dataset_digest, fingerprint;

-- name: note_serving(tag, image_digest, dataset_digest, fingerprint, customer_id, host)!
UPDATE deployments
SET state = 'serving', tag = :tag, image_digest = :image_digest, dataset_digest = :dataset_digest,
    fingerprint = :fingerprint, updated_at = now()
WHERE customer_id = :customer_id AND host = :host;

-- name: note_stopped(customer_id, host)!
UPDATE deployments
SET state = 'stopped', updated_at = now()
WHERE customer_id = :customer_id AND host = :host;

-- name: release_port(customer_id, host)!
DELETE FROM deployments
WHERE customer_id = :customer_id AND host = :host;
