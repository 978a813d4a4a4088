-- name: add_licence(licence_id, customer_id, server_name, document, key_id, signature, issued_by, expires_at)!
INSERT INTO licences (licence_id, customer_id, server_name, document, key_id, signature, issued_by, expires_at)
VALUES (:licence_id, :customer_id, :server_name, :document, :key_id, :signature, :issued_by, :expires_at);

-- name: revoke_licence(licence_id, customer)^
UPDATE licences
SET revoked_at = now()
WHERE licence_id = :licence_id AND revoked_at IS NULL
  AND (:customer::text IS NULL OR customer_id = :customer)
RETURNING customer_id, server_name;

-- name: licence_of(licence_id)^
SELECT licence_id
FROM licences
WHERE licence_id = :licence_id;

-- name: licences_of(after, limit)
SELECT licence_id, customer_id, server_name, expires_at, revoked_at IS NOT NULL AS revoked
FROM licences
WHERE licence_id > :after
ORDER BY licence_id
LIMIT :limit;
