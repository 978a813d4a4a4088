-- name: entries_named(customer, names)
SELECT e.server_name, e.title, e.description, e.version, e.kind, e.customer_id, e.url, e.approval, e.tools, e.operated, e.package,
       e.tier, e.needs_licence, e.direction, e.stars, e.ratings, e.registered_by, e.created_at, e.updated_at,
       i.server_name IS NOT NULL AS installed, c.tier AS customer_tier, l.document, l.key_id, l.signature
FROM catalogue_entries e
LEFT JOIN installs i ON i.server_name = e.server_name AND i.customer_id = :customer
LEFT JOIN customers c ON c.customer_id = :customer
LEFT JOIN LATERAL (
    SELECT document, key_id, signature
    FROM licences
    WHERE licences.server_name = e.server_name AND licences.customer_id = :customer
      AND revoked_at IS NULL AND expires_at > now()
    ORDER BY expires_at DESC
    LIMIT 1
) l ON e.needs_licence
WHERE e.server_name = ANY (:names::text[])
ORDER BY e.server_name;

-- name: name_by_url(url)$
SELECT server_name
FROM catalogue_entries
WHERE url = :url
ORDER BY kind = 'external', customer_id IS NOT NULL, server_name
LIMIT 1;

-- name: page_names(customer, subject, after, installed_only, any_approval, since, limit)
SELECT e.server_name
FROM catalogue_entries e
LEFT JOIN installs i ON i.server_name = e.server_name AND i.customer_id = :customer
WHERE e.server_name > :after
  AND (NOT :installed_only OR i.server_name IS NOT NULL)
  AND (:any_approval OR e.approval = 'approved' OR e.registered_by = :subject)
  AND e.updated_at >= :since
ORDER BY e.server_name
LIMIT :limit;

-- name: search_names(subject, after, any_approval, words, ends, limit)
SELECT e.server_name
FROM (
    SELECT w.server_name
    FROM unnest(:words::text[], :ends::text[]) AS wanted (word, ends)
    JOIN entry_words w ON w.word >= wanted.word AND w.word < wanted.ends
    GROUP BY w.server_name
    HAVING count(DISTINCT wanted.word) = cardinality(:words::text[])
) found
JOIN catalogue_entries e USING (server_name)
WHERE e.server_name > :after
  AND (:any_approval OR e.approval = 'approved' OR e.registered_by = :subject)
ORDER BY e.server_name
LIMIT :limit;

-- name: tool_names(subject, after, any_approval, tool, limit)
SELECT e.server_name
FROM server_tools t
JOIN catalogue_entries e USING (server_name)
WHERE t.name = :tool
  AND e.server_name > :after
  AND (:any_approval OR e.approval = 'approved' OR e.registered_by = :subject)
ORDER BY e.server_name
LIMIT :limit;

-- name: put_entry(server_name, title, description, version, kind, customer_id, url, approval, tools, operated, package, registered_by)$
INSERT INTO catalogue_entries
    (server_name, title, description, version, kind, customer_id, url, approval, tools, operated, package,
     registered_by)
VALUES (:server_name, :title, :description, :version, :kind, :customer_id, :url, :approval, :tools::jsonb, :operated,
        :package::jsonb, :registered_by)
ON CONFLICT (server_name) DO UPDATE
SET title = excluded.title, description = excluded.description, version = excluded.version,
    url = excluded.url, tools = excluded.tools, operated = excluded.operated, package = excluded.package,
    registered_by = excluded.registered_by,
    approval = CASE WHEN excluded.kind = 'external' THEN excluded.approval ELSE catalogue_entries.approval END,
    updated_at = now()
WHERE catalogue_entries.customer_id IS NOT DISTINCT FROM excluded.customer_id
  AND catalogue_entries.kind = excluded.kind
  AND (catalogue_entries.kind <> 'external' OR catalogue_entries.registered_by = excluded.registered_by)
RETURNING server_name;

-- name: forget_words(server_name)!
DELETE FROM entry_words
WHERE server_name = :server_name;

-- name: put_words(server_name, customer_id, words)!
INSERT INTO entry_words (word, server_name, customer_id)
SELECT word, :server_name, :customer_id
FROM unnest(:words::text[]) AS word;

-- name: put_version(server_name, version, customer_id, title, description)!
INSERT INTO server_versions (server_name, version, customer_id, title, description)
VALUES (:server_name, :version, :customer_id, :title, :description)
ON CONFLICT (server_name, version) DO UPDATE SET title = excluded.title, description = excluded.description;

-- name: forget_versions(server_name)!
DELETE FROM server_versions
WHERE server_name = :server_name AND version NOT IN (
    SELECT version FROM server_versions WHERE server_name = :server_name ORDER BY published_at DESC, version DESC LIMIT 500);

-- name: take_turn(owner)$
SELECT pg_advisory_xact_lock(hashtextextended('proposals ' || :owner, 0));

-- name: count_waiting(customer_id, registered_by)$
SELECT count(*)
FROM catalogue_entries
WHERE customer_id IS NOT DISTINCT FROM :customer_id AND (:customer_id::text IS NOT NULL OR registered_by = :registered_by)
  AND kind = 'external' AND approval IN ('submitted', 'review');

-- name: versions_of(server_name)
SELECT version, title, description, published_at
FROM server_versions
WHERE server_name = :server_name
ORDER BY published_at DESC, version DESC
LIMIT 500;

-- name: set_listing(server_name, before, approval, tier, needs_licence, direction)$
UPDATE catalogue_entries
SET approval = :approval, tier = :tier, needs_licence = :needs_licence, direction = :direction, updated_at = now()
WHERE server_name = :server_name AND approval = :before
RETURNING server_name;

-- name: rate(customer_id, server_name, stars)$
WITH before AS (
    SELECT stars FROM ratings WHERE customer_id = :customer_id AND server_name = :server_name
), given AS (
    INSERT INTO ratings (customer_id, server_name, stars)
    VALUES (:customer_id, :server_name, :stars)
    ON CONFLICT (customer_id, server_name) DO UPDATE SET stars = excluded.stars
    RETURNING stars
)
UPDATE catalogue_entries e
SET stars = e.stars + :stars - coalesce((SELECT stars FROM before), 0),
    ratings = e.ratings + CASE WHEN EXISTS (SELECT FROM before) THEN 0 ELSE 1 END
FROM given
WHERE e.server_name = :server_name
RETURNING e.server_name;

-- name: lock_entry(server_name)$
SELECT server_name
FROM catalogue_entries
WHERE server_name = :server_name
FOR UPDATE;

-- name: set_tier(customer_id, tier)$
UPDATE customers
SET tier = :tier
WHERE customer_id = :customer_id AND tier <> :tier
RETURNING customer_id;

-- name: add_install(customer_id, server_name, installed_by)!
INSERT INTO installs (customer_id, server_name, installed_by)
VALUES (:customer_id, :server_name, :installed_by)
ON CONFLICT (customer_id, server_name) DO NOTHING;

-- name: remove_install(customer_id, server_name)!
DELETE FROM installs
WHERE customer_id = :customer_id AND server_name = :server_name;

-- name: add_check(server_name, customer_id)!
INSERT INTO server_checks (server_name, customer_id)
VALUES (:server_name, :customer_id)
ON CONFLICT (server_name) DO UPDATE SET due_at = now(), told = server_checks.begun;

-- name: forget_tools(server_name)!
DELETE FROM server_tools
WHERE server_name = :server_name;

-- name: unset_check(server_name)!
UPDATE server_checks
SET checked_at = NULL, due_at = now()
WHERE server_name = :server_name;

-- name: names_for_everybody(limit)
SELECT server_name
FROM catalogue_entries
WHERE customer_id IS NULL AND approval = 'approved' AND tier = 'starter' AND NOT needs_licence
ORDER BY server_name
LIMIT :limit;
