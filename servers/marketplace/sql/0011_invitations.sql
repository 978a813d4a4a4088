-- Accounts that are offered to a person by a link. Of the link's secret there is only the digest here.

CREATE TABLE invitations (
    invitation_id text PRIMARY KEY CHECK (invitation_id ~ '^inv_[a-z2-7]{26}$'),
    customer_id   text REFERENCES customers,
    email         text NOT NULL CHECK (email = lower(email) AND length(email) <= 254),
    role          text NOT NULL CHECK (role IN ('platform_admin', 'partner_admin', 'customer_admin', 'customer_user')),
    secret_sha256 bytea NOT NULL CHECK (length(secret_sha256) = 32),
    invited_by    text NOT NULL CHECK (invited_by ~ '^usr_[a-z2-7]{26}$'),
    state         text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'accepted', 'revoked')),
    wrong_secrets integer NOT NULL DEFAULT 0,
    accepted_by   text CHECK (accepted_by ~ '^usr_[a-z2-7]{26}$'),
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    CHECK ((role IN ('customer_admin', 'customer_user')) = (customer_id IS NOT NULL)),
    CHECK ((state = 'accepted') = (accepted_by IS NOT NULL))
);

CREATE INDEX invitations_of_customer ON invitations (customer_id, created_at);
CREATE INDEX invitations_of_inviter ON invitations (invited_by) WHERE state = 'open';
CREATE UNIQUE INDEX one_open_invitation ON invitations (coalesce(customer_id, ''), email) WHERE state = 'open';

ALTER TABLE invitations ENABLE ROW LEVEL SECURITY;
ALTER TABLE invitations FORCE ROW LEVEL SECURITY;
CREATE POLICY own_invitations ON invitations
    USING (customer_id = nullif(current_setting('app.customer', true), '')
           OR current_setting('app.login', true) = invitation_id
           OR current_setting('app.platform', true) = 'on')
    WITH CHECK (customer_id = nullif(current_setting('app.customer', true), '')
                OR current_setting('app.login', true) = invitation_id
                OR current_setting('app.platform', true) = 'on');
