-- name: enter_platform()$
SELECT set_config('app.platform', 'on', true);

-- name: entry_by_name(customer, server_name)^
SELECT e.server_name, e.title, e.description, e.version, e.kind, e.customer_id, e.url, e.approval, e.tools, e.operated,
       EXISTS (SELECT FROM installs i WHERE i.server_name = e.server_name AND i.customer_id = :customer) AS installed
FROM catalogue_entries e
WHERE e.server_name = :server_name;

-- name: entry_by_url(customer, url)^
SELECT e.server_name, e.title, e.description, e.version, e.kind, e.customer_id, e.url, e.approval, e.tools, e.operated,
       EXISTS (SELECT FROM installs i WHERE i.server_name = e.server_name AND i.customer_id = :customer) AS installed
FROM catalogue_entries e
WHERE e.url = :url
ORDER BY e.server_name
LIMIT 1;

-- name: list_entries(customer, after, installed_only, any_approval, query, limit)
SELECT e.server_name, e.title, e.description, e.version, e.kind, e.customer_id, e.url, e.approval, e.tools, e.operated,
       i.server_name IS NOT NULL AS installed
FROM catalogue_entries e
LEFT JOIN installs i ON i.server_name = e.server_name AND i.customer_id = :customer
WHERE e.server_name > :after
  AND (NOT :installed_only OR i.server_name IS NOT NULL)
  AND (:any_approval OR e.approval = 'approved')
  AND (:query = ''
       OR strpos(lower(e.server_name || ' ' || e.title || ' ' || e.description), :query) > 0
       OR EXISTS (SELECT FROM jsonb_array_elements(e.tools) t WHERE strpos(lower(t ->> 'name'), :query) > 0))
ORDER BY e.server_name
LIMIT :limit;

-- name: put_entry(server_name, title, description, version, kind, customer_id, url, approval, tools, operated, registered_by)$
INSERT INTO catalogue_entries
    (server_name, title, description, version, kind, customer_id, url, approval, tools, operated, registered_by)
VALUES (:server_name, :title, :description, :version, :kind, :customer_id, :url, :approval, :tools::jsonb, :operated,
        :registered_by)
ON CONFLICT (server_name) DO UPDATE
SET title = excluded.title, description = excluded.description, version = excluded.version,
    url = excluded.url, tools = excluded.tools, operated = excluded.operated, registered_by = excluded.registered_by, updated_at = now()
WHERE catalogue_entries.customer_id IS NOT DISTINCT FROM excluded.customer_id
  AND catalogue_entries.kind = excluded.kind
RETURNING server_name;

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
ON CONFLICT (server_name) DO UPDATE SET due_at = now();

-- name: forget_tools(server_name)!
DELETE FROM server_tools
WHERE server_name = :server_name;

-- name: unset_check(server_name)!
UPDATE server_checks
SET checked_at = NULL, due_at = now()
WHERE server_name = :server_name;
