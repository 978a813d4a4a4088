-- A customer sees what is everyone's, and changes or removes its own rows alone: without this, a statement of a customer's
-- session that forgets its condition would take an entry, a tool or a rule away from all.

DO $$
DECLARE
    place text;
    own constant text := '(customer_id = nullif(current_setting(''app.customer'', true), '''')'
                         ' OR current_setting(''app.platform'', true) = ''on'')';
BEGIN
    FOREACH place IN ARRAY ARRAY['catalogue_entries', 'server_tools', 'server_checks', 'server_versions', 'entry_words',
                                 'entry_vectors', 'argument_rules'] LOOP
        EXECUTE format('CREATE POLICY changes_own ON %I AS RESTRICTIVE FOR UPDATE USING %s WITH CHECK %s', place, own, own);
        EXECUTE format('CREATE POLICY removes_own ON %I AS RESTRICTIVE FOR DELETE USING %s', place, own);
    END LOOP;
END
$$;
