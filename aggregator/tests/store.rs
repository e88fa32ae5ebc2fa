//! The contract of [`Store`]: each law is written once and holds on both databases.
//!
//! `batches`, `ledger`, `events`, `agents`, `rules` and `history` are the contract; `open_sqlite`, `open_postgres` and
//! `races_postgres` are what each database adds: files and locks here, servers that stop, clinics and other aggregators
//! there.

#[path = "store/agents.rs"]
mod agents;
#[path = "store/batches.rs"]
mod batches;
#[path = "store/events.rs"]
mod events;
#[path = "store/fixture.rs"]
mod fixture;
#[path = "harness/postgres.rs"]
mod harness;
#[path = "store/history.rs"]
mod history;
#[path = "store/ledger.rs"]
mod ledger;
#[path = "store/open_postgres.rs"]
mod open_postgres;
#[path = "store/open_sqlite.rs"]
mod open_sqlite;
#[path = "store/races_postgres.rs"]
mod races_postgres;
#[path = "store/rules.rs"]
mod rules;

/// Makes each law a test on each database.
macro_rules! contract {
    ($($laws:ident { $($law:ident,)* })*) => {
        mod sqlite {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $law() {
                    if let Some(database) = crate::fixture::Database::sqlite().await {
                        crate::$laws::$law(database).await;
                    }
                }
            )*)*
        }

        mod postgres {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $law() {
                    if let Some(database) = crate::fixture::Database::postgres().await {
                        crate::$laws::$law(database).await;
                    }
                }
            )*)*
        }
    };
}

contract! {
    agents {
        an_agent_comes_back_as_it_was_saved,
        a_hello_updates_the_agent_and_takes_back_its_goodbye,
        a_goodbye_of_an_unknown_agent_is_nothing,
        an_agents_position_is_that_of_its_newest_epoch_whatever_the_clock_says,
        epochs_that_begin_in_one_group_are_ordered_as_in_the_group,
        an_interval_that_sql_cannot_hold_is_refused,
    }
    batches {
        a_replay_changes_nothing,
        the_same_batch_twice_in_a_group_is_stored_once,
        sequence_numbers_that_never_came_are_counted,
        an_old_epochs_replay_is_known_after_a_new_epoch_began_and_after_a_prune,
        a_group_with_a_number_that_sql_cannot_hold_is_refused_whole,
        a_group_that_fails_midway_stores_nothing,
        a_batch_that_is_stored_without_a_position_is_a_replay,
        an_empty_group_is_nothing,
        batches_of_an_agent_that_never_said_hello_are_stored,
        batches_come_back_whole_and_in_the_order_of_storing,
        a_long_replay_and_a_long_prune_go_in_steps,
        schemas_are_stored_with_their_batch_and_refreshed_by_later_ones,
        what_an_agent_sent_under_another_name_is_not_replayed_whatever_the_clock_said,
        a_replay_after_a_clock_was_set_back_leaves_nothing_out,
        random_groups_are_judged_like_a_naive_twin_judges_them,
        commits_at_the_same_time_store_each_batch_once,
        a_commit_that_is_dropped_leaves_nothing_open,
    }
    ledger {
        a_place_where_another_batch_is_stored_is_taken,
        a_gap_is_stored_with_its_batch_and_ends_by_the_next_sample,
        a_gap_before_a_new_epoch_begins_with_the_newest_sample_of_the_one_before,
        an_older_epochs_samples_do_not_end_the_gap_of_a_newer_one,
        gaps_of_two_epochs_end_in_one_group_each_by_the_first_sample_after_it,
        a_run_of_losses_is_cut_where_samples_of_another_epoch_came_in_between,
        a_stored_gap_has_the_time_of_what_was_lost_although_a_slow_pass_began_before_it,
        an_older_epoch_that_goes_on_is_told,
        each_number_is_stored_or_missing_once,
        a_ledger_is_read_by_time_and_cut_at_its_limit,
        an_unknown_agent_has_no_ledger,
        gaps_that_end_lately_are_read_at_a_start,
        gaps_go_with_the_retention_of_agents,
        content_in_the_place_of_a_gap_is_not_a_replay,
        a_run_of_losses_is_one_row_over_commits_and_a_restart,
        more_open_gaps_than_a_commit_ends_end_by_the_next,
    }
    events {
        an_event_is_stored_once_however_often_it_comes,
        one_clinics_key_is_not_anothers,
        a_replay_brings_no_events_and_a_group_that_fails_none,
        many_events_are_one_commit,
        events_that_came_long_ago_go,
    }
    rules {
        an_evaluation_comes_back_as_it_was_saved,
        an_evaluation_replaces_the_instances_of_its_rule_only,
        an_evaluation_that_fails_midway_stores_nothing,
        a_forgotten_rule_is_gone_and_its_alerts_stay,
        an_alert_is_updated_by_its_id,
        a_clinic_never_sees_anothers_alerts,
        alerts_are_filtered_by_status_and_limited_newest_first,
        a_name_beyond_its_column_is_cut_rather_than_refused,
        ten_thousand_instances_are_one_evaluation,
        due_notifications_come_as_they_were_made_whatever_the_clock_said_then,
        a_deferred_notification_waits_and_a_finished_one_is_history,
        an_evaluation_sent_again_makes_no_second_notification,
    }
    history {
        the_last_sign_of_life_is_the_pulse_or_the_last_evaluation,
        notifications_that_are_finished_for_long_go,
        alerts_that_are_resolved_for_long_go_and_active_ones_stay,
        agents_of_which_nothing_comes_any_more_go_with_their_epochs,
        of_too_many_notifications_the_newest_wait_on_and_the_others_are_history,
    }
}
