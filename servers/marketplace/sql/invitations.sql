-- name: take_turn(owner)$
SELECT pg_advisory_xact_lock(hashtextextended('invitations ' || :owner, 0));

-- name: count_open(customer_id)$
SELECT count(*)
FROM invitations
WHERE customer_id IS NOT DISTINCT FROM :customer_id AND state = 'open' AND expires_at > now();

-- name: forget_invitations(customer_id)!
DELETE FROM invitations
WHERE customer_id IS NOT DISTINCT FROM :customer_id AND expires_at < now() - interval '30 days';

-- name: add_invitation(invitation_id, customer_id, email, role, secret_sha256, invited_by, lasts_s)^
INSERT INTO invitations (invitation_id, customer_id, email, role, secret_sha256, invited_by, expires_at)
VALUES (:invitation_id, :customer_id, :email, :role, :secret_sha256, :invited_by,
        now() + make_interval(secs => :lasts_s))
RETURNING invitation_id, customer_id, email, role, invited_by, expires_at;

-- name: open_invitations(customer_id, limit)
SELECT invitation_id, customer_id, email, role, invited_by, expires_at
FROM invitations
WHERE customer_id IS NOT DISTINCT FROM :customer_id AND state = 'open' AND expires_at > now()
ORDER BY created_at, invitation_id
LIMIT :limit;

-- name: open_invitation(invitation_id)^
SELECT invitation_id, customer_id, email, role, invited_by, expires_at, secret_sha256
FROM invitations
WHERE invitation_id = :invitation_id AND state = 'open' AND expires_at > now();

-- name: count_wrong_secret(invitation_id, limit)!
UPDATE invitations
SET wrong_secrets = wrong_secrets + 1,
    state = CASE WHEN wrong_secrets + 1 >= :limit THEN 'revoked' ELSE state END
WHERE invitation_id = :invitation_id AND state = 'open';

-- name: revoke_invitation(invitation_id)^
UPDATE invitations
SET state = 'revoked'
WHERE invitation_id = :invitation_id AND state = 'open' AND expires_at > now()
RETURNING invitation_id;

-- name: accept_invitation(invitation_id, accepted_by)^
UPDATE invitations
SET state = 'accepted', accepted_by = :accepted_by
WHERE invitation_id = :invitation_id AND state = 'open' AND expires_at > now()
RETURNING invitation_id;
