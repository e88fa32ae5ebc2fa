//! What a server adds: it stops and starts, it has other users, and it may have the product's tables.

use crate::fixture::{Database, alert, batch, chain, evaluation, id, ms, new};
use crate::harness::{PASSWORD, Postgres};
use futures::future::join_all;
use monitoring_aggregator::store::{self, AlertRow, BatchRow, EvaluationRow, Scope, Store, StoreError, Stored};
use proto::sample::Timestamp;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const CLINICS: &str = "
    CREATE SCHEMA atendeai;
    CREATE TABLE atendeai.clinics (id uuid PRIMARY KEY);
    INSERT INTO atendeai.clinics SELECT id::uuid FROM UNNEST(ARRAY[
        '00000000-0000-0000-0000-000000000385', '00000000-0000-0000-0000-000000000386']) AS known (id)";

async fn failure(url: &str) -> StoreError {
    match store::open(url).await {
        Ok(_) => panic!("it opens"),
        Err(error) => error,
    }
}

async fn ask(url: &str, query: &str) -> String {
    let mut connection = PgConnection::connect(url).await.expect("the server is up");
    sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&mut connection).await.expect("one text")
}

async fn foreign_keys(url: &str) -> String {
    let query =
        "SELECT coalesce(string_agg(conname || ' ' || confrelid::regclass || ' ' || confdeltype::text, ','), '')
        FROM pg_constraint WHERE conrelid = 'monitoring.alerts'::regclass AND contype = 'f'";
    ask(url, query).await
}

async fn run(url: &str, statements: &'static str) {
    let mut connection = PgConnection::connect(url).await.expect("the server is up");
    connection.execute(statements).await.expect("the test's statements");
}

/// Commits until it is done, as the aggregator does.
async fn insist(store: &Arc<dyn Store>, group: &[BatchRow]) -> Vec<Stored> {
    loop {
        match store.commit(group).await {
            Ok(stored) => return stored,
            Err(StoreError::Unavailable(_)) => tokio::task::yield_now().await,
            Err(other) => panic!("{}", chain(&other)),
        }
    }
}

#[tokio::test]
async fn everything_is_in_the_schema_monitoring() {
    let Some(database) = Database::postgres().await else { return };
    assert!(database.store.ping().await.expect("up").starts_with("PostgreSQL 1"));
    let others = "SELECT coalesce(string_agg(schemaname || '.' || tablename, ','), '') FROM pg_tables
        WHERE schemaname NOT IN ('monitoring', 'pg_catalog', 'information_schema')";
    assert_eq!(ask(&database.url, others).await, "");
    let count = "SELECT count(*)::text FROM monitoring._sqlx_migrations WHERE success";
    assert_eq!(ask(&database.url, count).await, "4");
}

#[tokio::test]
async fn the_table_of_alerts_is_as_the_requirements_say() {
    let Some(database) = Database::postgres().await else { return };
    let columns = "
        SELECT string_agg(format('%s %s%s', attname, format_type(atttypid, atttypmod),
            coalesce(' ' || pg_get_expr(adbin, adrelid), '')), ', ' ORDER BY attnum)
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid = 'monitoring.alerts'::regclass AND attnum > 0";
    assert_eq!(
        ask(&database.url, columns).await,
        "id uuid, clinic_id uuid, alert_name character varying(100), severity character varying(20), \
         status character varying(20) 'active'::character varying, message text, metadata jsonb '{}'::jsonb, \
         created_at timestamp with time zone now(), resolved_at timestamp with time zone"
    );
}

#[tokio::test]
async fn commits_are_synchronous_whatever_the_database_and_the_url_say() {
    let Some(postgres) = Postgres::shared() else { return };
    let url = postgres.create_database().await;
    let name = url.split('/').nth(3).and_then(|rest| rest.split('?').next()).expect("a name");
    let mut connection = PgConnection::connect(&url).await.expect("up");
    let off = format!("ALTER DATABASE {name} SET synchronous_commit = off");
    connection.execute(AssertSqlSafe(off)).await.expect("ours");
    assert_eq!(ask(&url, "SHOW synchronous_commit").await, "off");
    let insisting = format!("{url}&options=-c%20synchronous_commit%3Doff");
    let store = store::open(&insisting).await.expect("up");
    // A trigger sees what the store's own connection has set.
    run(
        &url,
        "
        CREATE TABLE public.seen (setting text, program text);
        CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO public.seen VALUES
                (current_setting('synchronous_commit'), current_setting('application_name'));
            RETURN new;
        END $$;
        CREATE TRIGGER spy BEFORE INSERT ON monitoring.batches FOR EACH ROW EXECUTE FUNCTION spy()",
    )
    .await;
    store.commit(&[batch(1, 9, 1)]).await.expect("stored");
    assert_eq!(ask(&url, "SELECT setting || ' ' || program FROM public.seen").await, "on monitoring-aggregator");
}

#[tokio::test]
async fn without_the_products_clinics_an_alert_names_any_clinic() {
    let Some(database) = Database::postgres().await else { return };
    assert_eq!(foreign_keys(&database.url).await, "");
    let saved = EvaluationRow { alerts: vec![alert(1, Some(0xdead), 1)], ..evaluation("a", 1) };
    database.store.save_evaluation(&saved).await.expect("saved");
    let seen = database.store.load_alerts(Scope::Clinic(id(0xdead)), None, 9).await.expect("up");
    assert_eq!(seen, saved.alerts);
}

#[tokio::test]
async fn with_the_products_clinics_alerts_refer_to_them_and_none_is_lost() {
    let Some(postgres) = Postgres::shared() else { return };
    let url = postgres.create_database().await;
    run(&url, CLINICS).await;
    let store = store::open(&url).await.expect("up");
    assert_eq!(foreign_keys(&url).await, "alerts_clinic_id_fkey atendeai.clinics n");

    let known = alert(1, Some(0x385), 3);
    let unknown = alert(2, Some(0xdead), 2);
    let saved = EvaluationRow { alerts: vec![known.clone(), unknown.clone(), alert(3, None, 1)], ..evaluation("a", 1) };
    store.save_evaluation(&saved).await.expect("an unknown clinic stops no alert");
    let seen = store.load_alerts(Scope::AllClinics, None, 9).await.expect("up");
    assert_eq!(seen, [known, AlertRow { clinic_id: None, ..unknown }, alert(3, None, 1)]);

    // The product forgets a clinic: we do not stand in its way, and its alert can still end.
    run(&url, "DELETE FROM atendeai.clinics WHERE id = '00000000-0000-0000-0000-000000000385'").await;
    let ended = AlertRow { status: "resolved".into(), ..alert(1, Some(0x385), 3) };
    store.save_evaluation(&EvaluationRow { alerts: vec![ended], ..evaluation("a", 2) }).await.expect("saved");
    let seen = store.load_alerts(Scope::AllClinics, Some("resolved"), 9).await.expect("up");
    assert_eq!(seen[0].clinic_id, None);
}

#[tokio::test]
async fn clinics_that_come_later_are_referred_to_from_the_next_open() {
    let Some(mut database) = Database::postgres().await else { return };
    let saved =
        EvaluationRow { alerts: vec![alert(1, Some(0xdead), 1), alert(2, Some(0x386), 2)], ..evaluation("a", 1) };
    database.store.save_evaluation(&saved).await.expect("saved");
    run(&database.url, CLINICS).await;
    database.reopen().await;
    assert_eq!(foreign_keys(&database.url).await, "alerts_clinic_id_fkey atendeai.clinics n");
    database.reopen().await;
    database.store.save_evaluation(&saved).await.expect("an old alert can still change");
}

#[tokio::test]
async fn clinics_that_we_may_not_refer_to_stop_nothing() {
    let Some(postgres) = Postgres::shared() else { return };
    let url = postgres.create_database().await;
    run(&url, CLINICS).await;
    run(
        &url,
        "
        DO $$ BEGIN CREATE ROLE stranger LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
        CREATE SCHEMA monitoring AUTHORIZATION stranger",
    )
    .await;
    let as_stranger = url.replace("postgres://postgres@", "postgres://stranger@");
    let store = store::open(&as_stranger).await.expect("the schema is ours, the product's is not");
    assert_eq!(foreign_keys(&url).await, "");
    store.commit(&[batch(1, 9, 1)]).await.expect("stored");
}

#[tokio::test]
async fn a_schema_from_a_newer_program_is_not_touched() {
    let Some(database) = Database::postgres().await else { return };
    run(&database.url, "INSERT INTO monitoring._sqlx_migrations VALUES (9999, 'future', now(), TRUE, ''::bytea, 0)")
        .await;
    let error = failure(&database.url).await;
    assert!(matches!(error, StoreError::Migrate(_)), "{error:?}");
    assert!(chain(&error).contains("9999"), "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aggregators_that_start_at_once_migrate_once() {
    let Some(postgres) = Postgres::shared() else { return };
    let url = postgres.create_database().await;
    run(&url, CLINICS).await;
    for outcome in join_all((0..6).map(|_| store::open(&url))).await {
        let store = outcome.map_err(|error| chain(&error)).expect("opened");
        store.ping().await.expect("up");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_aggregators_commit_the_same_agents_crosswise_without_deadlock() {
    let Some(database) = Database::postgres().await else { return };
    let other = store::open(&database.url).await.expect("a second aggregator");
    // As many streams as make the server look each position up by itself, in the order in which we ask.
    run(
        &database.url,
        "INSERT INTO monitoring.agent_epochs (agent_id, epoch, last_seq, first_seen, last_received_at)
            SELECT gen_random_uuid(), gen_random_uuid(), 1, now(), now() FROM generate_series(1, 20000);
         ANALYZE monitoring.agent_epochs",
    )
    .await;
    // Both get all batches, one in the agents' order, one in its reverse; a new epoch begins every other time.
    let groups = |reverse: bool| {
        (0..40_u64).map(move |turn| {
            let (epoch, seq) = (u128::from(turn / 2), turn % 2 + 1);
            let mut group: Vec<BatchRow> = (1..=100).map(|agent| batch(agent, epoch, seq)).collect();
            if reverse {
                group.reverse();
            }
            group
        })
    };
    let commit_all = async |store: &Arc<dyn Store>, reverse| {
        let mut stored = 0;
        for group in groups(reverse) {
            let outcome = store.commit(&group).await.map_err(|error| chain(&error)).expect("no deadlock");
            stored += outcome.iter().filter(|one| **one != Stored::Replay).count();
        }
        stored
    };
    let (one, two) = tokio::join!(commit_all(&database.store, false), commit_all(&other, true));
    assert_eq!(one + two, 4_000, "each batch was new for exactly one of them");
    assert_eq!(database.count("batches").await, 4_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_fails_a_commit_and_the_same_rows_are_stored_once_after_it() {
    let Some(postgres) = Postgres::private() else { return };
    let store = store::open(&postgres.create_database().await).await.expect("up");
    store.commit(&[batch(1, 9, 1)]).await.expect("stored");
    postgres.stop();
    let group = [batch(1, 9, 2), batch(2, 9, 1)];
    for _ in 0..3 {
        let error = store.commit(&group).await.expect_err("it is down");
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    }
    postgres.start();
    assert_eq!(insist(&store, &group).await, [new(), new()]);
    let mut rows = Vec::new();
    store.replay(Timestamp::ZERO, &mut |row| rows.push(row)).await.expect("up");
    assert_eq!(rows, [batch(1, 9, 1), batch(1, 9, 2), batch(2, 9, 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_crashes_in_the_middle_of_commits() {
    let Some(postgres) = Postgres::private() else { return };
    let postgres = Arc::new(postgres);
    let store = store::open(&postgres.create_database().await).await.expect("up");
    let crashing = {
        let (postgres, done) = (Arc::clone(&postgres), Arc::new(AtomicBool::new(false)));
        let ended = Arc::clone(&done);
        let crashes = tokio::task::spawn_blocking(move || {
            for _ in 0..4 {
                postgres.restart_immediate();
            }
            ended.store(true, Ordering::Release);
        });
        (crashes, done)
    };
    let mut acknowledged = Vec::new();
    for seq in 1.. {
        let group = [batch(1, 9, seq), batch(2, 9, seq)];
        insist(&store, &group).await;
        acknowledged.extend(group);
        if crashing.1.load(Ordering::Acquire) {
            break;
        }
    }
    crashing.0.await.expect("restarted");
    let mut rows = Vec::new();
    store.replay(Timestamp::ZERO, &mut |row| rows.push(row)).await.expect("up");
    assert_eq!(rows, acknowledged);
}

#[tokio::test]
async fn a_connection_that_an_operator_ends_is_replaced() {
    let Some(database) = Database::postgres().await else { return };
    database.commit(&[batch(1, 9, 1)]).await;
    run(
        &database.url,
        "
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .await;
    assert_eq!(insist(&database.store, &[batch(1, 9, 2)]).await, [new()]);
}

#[tokio::test]
async fn a_commit_that_ends_without_an_answer_is_told_from_one_that_was_never_sent() {
    let Some(database) = Database::postgres().await else { return };
    let die = "
        CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM pg_terminate_backend(pg_backend_pid());
            PERFORM pg_sleep(30);
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER die AFTER INSERT ON monitoring.batches
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()";
    run(&database.url, die).await;
    let error = database.store.commit(&[batch(1, 9, 1)]).await.expect_err("it dies as it commits");
    assert!(matches!(&error, StoreError::Unanswered { perhaps, .. } if *perhaps == [new()]), "{error:?}");
    let at_once = "DROP TRIGGER die ON monitoring.batches; CREATE TRIGGER die AFTER INSERT ON monitoring.batches
        FOR EACH ROW EXECUTE FUNCTION die()";
    run(&database.url, at_once).await;
    let error = database.store.commit(&[batch(1, 9, 1)]).await.expect_err("it dies before");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_at_once() {
    let Some(postgres) = Postgres::private() else { return };
    let (tcp, socket) = (postgres.tcp_url("postgres"), postgres.url("postgres"));
    postgres.stop();
    for url in [tcp, socket] {
        let error = failure(&url).await;
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        assert!(!format!("{error:?} {}", chain(&error)).contains(PASSWORD), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_unavailable_after_a_while() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("postgres://ana:s3cret@{}/aten", silent.local_addr().expect("bound"));
    let error = failure(&url).await;
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn a_password_is_used_and_never_shown() {
    let Some(postgres) = Postgres::shared() else { return };
    let socket = postgres.create_database().await;
    let name = socket.split('/').nth(3).and_then(|rest| rest.split('?').next()).expect("a name");
    let url = postgres.tcp_url(name);
    store::open(&url).await.expect("the right password").ping().await.expect("up");
    let error = failure(&url.replace(PASSWORD, "s3cret")).await;
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    assert!(chain(&error).contains("password authentication failed"), "{}", chain(&error));
    assert!(!format!("{error:?} {}", chain(&error)).contains("s3cret"), "{error:?}");
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_named() {
    let Some(postgres) = Postgres::shared() else { return };
    let error = failure(&postgres.url("nowhere")).await;
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    assert!(chain(&error).contains("\"nowhere\" does not exist"), "{}", chain(&error));
}

#[tokio::test]
async fn a_lock_that_does_not_come_is_unavailable_and_leaves_nothing_behind() {
    let Some(database) = Database::postgres().await else { return };
    let impatient = format!("{}&options=-c%20lock_timeout%3D50ms", database.url);
    let store = store::open(&impatient).await.expect("up");
    store.commit(&[batch(1, 9, 1)]).await.expect("stored");
    let mut person = PgConnection::connect(&database.url).await.expect("up");
    let mut locking = person.begin().await.expect("begun");
    locking.execute("LOCK TABLE monitoring.batches IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    let error = store.commit(&[batch(1, 9, 2)]).await.expect_err("locked");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    locking.rollback().await.expect("let go");
    assert_eq!(store.commit(&[batch(1, 9, 2)]).await.expect("stored"), [new()]);
}

#[tokio::test]
async fn a_time_beyond_the_calendar_is_refused() {
    let Some(database) = Database::postgres().await else { return };
    let mut row = batch(1, 9, 1);
    row.received_at = ms(i64::MAX);
    let error = database.store.commit(&[row]).await.expect_err("no such day");
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    assert!(chain(&error).contains("timestamptz"), "{}", chain(&error));
}
