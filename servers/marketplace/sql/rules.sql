-- name: add_rule(rule_id, customer_id, server_name, tool, condition, set_by, most)^
INSERT INTO argument_rules (rule_id, customer_id, server_name, tool, condition, set_by)
SELECT :rule_id, :customer_id, :server_name, :tool, :condition, :set_by
WHERE (SELECT count(*) FROM argument_rules WHERE server_name = :server_name) < :most
RETURNING rule_id;

-- name: rules_of(customer_id)
SELECT rule_id, customer_id, server_name, tool, condition
FROM argument_rules
WHERE customer_id IS NULL OR customer_id = :customer_id
ORDER BY created_at, rule_id;

-- name: rules_of_server(server_name)
SELECT rule_id, customer_id, server_name, tool, condition
FROM argument_rules
WHERE server_name = :server_name
ORDER BY created_at, rule_id;

-- name: remove_rule(rule_id, acts_for)^
DELETE FROM argument_rules
WHERE rule_id = :rule_id AND (:acts_for::text IS NULL OR customer_id = :acts_for)
RETURNING rule_id, customer_id, server_name, tool, condition;
