-- Ties monitoring.alerts to the product's clinics where that table exists; run by every open, since the table may come
-- later than ours. The product must not notice us: NOT VALID takes no scan, the lock is waited for five seconds at most,
-- and deleting a clinic keeps its alerts without it. Where we may not do it, the aggregator runs without the key.
-- SELECT is asked for as well: the program looks clinics up before it writes an alert, so that an alert about a clinic
-- that is not in the table is stored (without the clinic) rather than refused.
DO $$
BEGIN
    IF to_regclass('atendeai.clinics') IS NULL
        OR NOT has_table_privilege(to_regclass('atendeai.clinics'), 'SELECT')
        OR EXISTS (
            SELECT FROM pg_constraint
            WHERE conrelid = 'monitoring.alerts'::regclass AND conname = 'alerts_clinic_id_fkey'
        )
    THEN
        RETURN;
    END IF;
    SET LOCAL lock_timeout = '5s';
    ALTER TABLE monitoring.alerts
        ADD CONSTRAINT alerts_clinic_id_fkey
        FOREIGN KEY (clinic_id) REFERENCES atendeai.clinics (id) ON DELETE SET NULL
        NOT VALID;
EXCEPTION
    -- no right to it · clinics.id is no uuid · it is not unique · it is locked · another aggregator was faster
    WHEN insufficient_privilege OR datatype_mismatch OR invalid_foreign_key OR undefined_column
        OR lock_not_available OR duplicate_object
    THEN
        RAISE WARNING 'monitoring.alerts has no foreign key to atendeai.clinics: %', SQLERRM;
END
$$;
