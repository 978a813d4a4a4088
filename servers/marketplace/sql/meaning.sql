-- name: unread_entries(model, limit)
SELECT e.server_name, e.customer_id, e.title, e.description
FROM catalogue_entries e
LEFT JOIN entry_vectors v ON v.server_name = e.server_name AND v.model = :model
WHERE e.approval = 'approved'
  AND v.text_digest IS DISTINCT FROM
      'sha256:' || encode(sha256(convert_to(e.title || E'\n' || e.description, 'UTF8')), 'hex')
ORDER BY e.server_name
LIMIT :limit;

-- name: put_vectors(names, customers, model, digests, vectors)!
INSERT INTO entry_vectors (server_name, customer_id, model, text_digest, vector)
SELECT name, customer, :model, digest, vector
FROM unnest(:names::text[], :customers::text[], :digests::text[], :vectors::bytea[])
     AS told (name, customer, digest, vector)
ON CONFLICT (server_name, model) DO UPDATE SET text_digest = excluded.text_digest, vector = excluded.vector;

-- name: vectors_of(model, shared)
SELECT v.server_name, v.vector
FROM entry_vectors v
JOIN catalogue_entries e USING (server_name)
WHERE v.model = :model AND e.approval = 'approved' AND (v.customer_id IS NULL) = :shared
ORDER BY v.server_name;
