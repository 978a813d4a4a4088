-- Conditions over the arguments of a tool's calls, set by the operator; without a customer they are everyone's.

CREATE TABLE argument_rules (
    rule_id     text PRIMARY KEY CHECK (rule_id ~ '^rul_[a-z2-7]{26}$'),
    customer_id text REFERENCES customers,
    server_name text NOT NULL REFERENCES catalogue_entries,
    tool        text NOT NULL CHECK (tool ~ '^[A-Za-z0-9_./-]{1,128}$'),
    condition   text NOT NULL CHECK (length(condition) BETWEEN 1 AND 500),
    set_by      text NOT NULL CHECK (set_by ~ '^(usr_[a-z2-7]{26}|[a-z][a-z0-9_-]{0,63})$'),
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX argument_rules_of_customer ON argument_rules (customer_id);
CREATE INDEX argument_rules_of_server ON argument_rules (server_name);

ALTER TABLE argument_rules ENABLE ROW LEVEL SECURITY;
ALTER TABLE argument_rules FORCE ROW LEVEL SECURITY;
CREATE POLICY own_argument_rules ON argument_rules
    USING (customer_id = nullif(current_setting('app.customer', true), '')
           OR customer_id IS NULL
           OR current_setting('app.platform', true) = 'on')
    WITH CHECK (customer_id = nullif(current_setting('app.customer', true), '')
                OR current_setting('app.platform', true) = 'on');

CREATE TRIGGER argument_rules_changed AFTER INSERT OR UPDATE OR DELETE ON argument_rules
    FOR EACH STATEMENT EXECUTE FUNCTION tell_replicas('catalogue');
