-- name: put_connection(customer_id, server_name, direction, header, sealed, saved_by)!
INSERT INTO connections (customer_id, server_name, direction, header, sealed, saved_by)
VALUES (:customer_id, :server_name, :direction, :header, :sealed, :saved_by)
ON CONFLICT (server_name, coalesce(customer_id, '')) DO UPDATE
SET direction = excluded.direction, header = excluded.header, sealed = excluded.sealed, saved_by = excluded.saved_by,
    tested_at = now();

-- name: remove_connection(customer_id, server_name)$
DELETE FROM connections
WHERE server_name = :server_name AND customer_id IS NOT DISTINCT FROM :customer_id
RETURNING server_name;

-- name: connections_of(customer_id, limit)
SELECT server_name, direction, header, tested_at
FROM connections
WHERE customer_id IS NOT DISTINCT FROM :customer_id
ORDER BY server_name
LIMIT :limit;

-- name: direction_of(customer_id, server_name)$
SELECT direction
FROM connections
WHERE server_name = :server_name AND customer_id IS NOT DISTINCT FROM :customer_id;

-- name: credential_of(customer_id, server_name)^
SELECT header, sealed
FROM connections
WHERE server_name = :server_name AND customer_id IS NOT DISTINCT FROM :customer_id;
