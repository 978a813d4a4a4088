-- The audit log: append-only, each row bound to the one before by a digest. Ids, digests and verbs; no content.

CREATE TABLE audit (
    number      bigint PRIMARY KEY CHECK (number >= 1),
    at          timestamptz NOT NULL,
    actor       text NOT NULL CHECK (actor ~ '^[A-Za-z0-9:._/-]{1,200}$'),
    verb        text NOT NULL CHECK (verb ~ '^[a-z][a-z0-9_.]{0,79}$'),
    customer_id text CHECK (customer_id ~ '^[a-z][a-z0-9]*(-[a-z0-9]+)*$' AND length(customer_id) <= 40),
    subject     text NOT NULL CHECK (subject ~ '^[A-Za-z0-9:._/-]{0,200}$'),
    detail      text NOT NULL CHECK (octet_length(detail) <= 4096),
    previous    text NOT NULL CHECK (previous ~ '^sha256:[0-9a-f]{64}$'),
    digest      text NOT NULL CHECK (digest ~ '^sha256:[0-9a-f]{64}$')
);

CREATE INDEX audit_of_customer ON audit (customer_id, number) WHERE customer_id IS NOT NULL;

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER audit_is_kept BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_stays BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

-- A customer sees its own rows. The platform, which writes the chain and proves it, names itself by app.platform.
ALTER TABLE audit ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit FORCE ROW LEVEL SECURITY;
CREATE POLICY own_audit ON audit
    USING (customer_id = nullif(current_setting('app.customer', true), '')
           OR current_setting('app.platform', true) = 'on')
    WITH CHECK (current_setting('app.platform', true) = 'on');
