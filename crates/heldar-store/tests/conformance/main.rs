//! One behaviour on both engines.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod accounts;
mod ai_tasks;
mod app_migrations;
mod apps;
mod batches;
mod clips;
mod consumers;
mod detections;
mod feed;
mod file;
mod history;
mod inspection;
mod ledger;
mod paging;
mod people;
mod records;
mod registry;
mod scope;
mod seen;
mod segments;
mod server;
mod sign_in;
mod snapshots;
mod totals;
mod upgrade;
mod webhooks;
mod world;
mod writer;
mod zone_events;
mod zones;

/// Runs each test once on SQLite and once on PostgreSQL.
macro_rules! suite {
    ($($area:ident { $($test:ident,)+ })+) => {
        mod sqlite {
            $(mod $area {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    crate::$area::$test(crate::world::Db::sqlite()).await;
                })+
            })+
        }
        mod postgres {
            $(mod $area {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    crate::$area::$test(crate::world::Db::postgres()).await;
                })+
            })+
        }
    };
}

suite! {
    registry {
        sites_are_kept,
        cameras_are_kept,
        a_removed_camera_comes_back,
        lists_are_filtered,
        settings_are_kept,
        a_change_commits_with_its_audit_row_and_events,
    }
    segments {
        a_segment_grows_and_is_sealed,
        stale_writes_change_nothing,
        segments_never_overlap,
        windows_overlap_as_documented,
        newest_pages_go_back_in_time,
        parameters_are_stored_once,
        deletion_goes_in_three_steps,
        a_deleted_camera_takes_its_footage,
        a_sealed_row_is_mended,
        totals_are_restated,
        write_rate_is_of_the_last_day,
        a_start_finds_what_was_open,
    }
    ledger {
        gaps_open_grow_and_close,
        gaps_are_filtered,
        wanted_history_goes_forward,
        statuses_are_kept,
    }
    history {
        events_are_numbered_once,
        events_are_filtered,
        events_are_counted,
        alerts_are_warnings_and_above,
        audit_is_filtered,
        audit_is_append_only,
        old_rows_go_in_slices,
    }
    feed {
        rows_come_in_commit_order,
        what_was_read_stays_whole,
        what_age_takes_is_noted,
        an_event_is_marked_once,
        events_have_four_orders,
        types_are_listed_once,
    }
    clips {
        clips_live_and_go,
    }
    records {
        record_schedules_are_kept,
        triggers_open_and_extend_windows,
        what_does_not_record_by_events_is_not_triggered,
        a_trigger_commits_with_what_led_to_it,
    }
    snapshots {
        schedules_are_kept,
        snapshots_are_kept,
        snapshots_go_with_age_and_camera,
    }
    accounts {
        accounts_are_kept,
        there_is_one_first_account,
        the_last_administrator_stays,
        two_demotions_at_once_leave_one,
        an_account_takes_what_is_its_own,
        preferences_are_kept,
        api_keys_are_kept,
    }
    sign_in {
        a_sign_in_opens_a_session,
        failures_lock_and_locks_run_out,
        parallel_guesses_stop_at_the_threshold,
        the_newest_clients_are_known,
        sessions_are_used_and_end,
        what_has_expired_is_pruned,
    }
    paging {
        no_row_twice_and_none_skipped,
        accounts_come_in_pages,
    }
    scope {
        nothing_outside_is_seen,
        audit_scope_follows_its_rule,
    }
    totals {
        totals_equal_sums,
    }
    ai_tasks {
        tasks_are_kept,
        leases_are_kept,
    }
    batches {
        a_batch_is_kept_as_it_came,
        a_frame_takes_effect_once,
        many_batches_share_a_commit,
        batches_come_in_commit_order,
        a_deleted_camera_takes_its_batches,
        motion_grows_together,
        batches_are_small,
    }
    detections {
        detections_are_filtered,
        pages_are_stable,
        many_cameras_make_one_list,
    }
    consumers {
        each_batch_is_finished_once,
        clients_tell_how_far_they_are,
        what_cannot_be_taken_is_parked,
        what_is_not_taken_is_kept_longer,
    }
    zones {
        zones_are_kept,
        the_newest_state_stands,
        occupancy_and_counters_go_with_their_zone,
    }
    zone_events {
        a_zone_event_is_kept_as_it_came,
        effects_stand_or_fall_with_the_state,
        zone_events_are_filtered,
        zone_events_are_counted,
        counts_are_bounded,
        zone_events_outlive_their_zone_and_go_with_age,
        zone_events_are_small,
    }
    webhooks {
        webhooks_are_kept,
        a_webhook_begins_where_it_is_made,
        standing_goes_forward,
        deliveries_are_kept_once,
        replays_wait_for_their_turn,
        deliveries_go_with_age_and_webhook,
    }
    apps {
        effects_stand_or_fall_with_the_cursor,
        a_refused_statement_is_told,
        neighbours_of_a_refused_statement_commit,
        a_refused_neighbour_takes_back_what_is_not_counted,
        values_come_back,
        values_are_of_their_place,
        reads_are_bounded,
        reads_do_not_write,
        app_tables_confuse_nobody,
        effects_and_cursor_agree_after_a_kill,
    }
    app_migrations {
        steps_are_applied_once,
        a_changed_step_stops_the_start,
        a_refused_step_leaves_nothing,
        bad_lists_are_refused,
        bodies_hold_statements,
    }
    upgrade {
        schema_1_is_brought_up_to_date,
        schema_2_is_brought_up_to_date,
        schema_3_is_brought_up_to_date,
        schema_4_is_brought_up_to_date,
        schema_5_is_brought_up_to_date,
    }
    inspection {
        a_look_tells_what_is_there,
        a_reader_takes_nothing_over,
    }
    writer {
        many_writers_never_see_busy,
        a_bad_write_does_not_hurt_its_group,
        several_writes_are_one,
        a_second_owner_fences_the_first,
        event_numbers_survive_an_unclean_stop,
        an_abandoned_write_still_happens,
        what_was_answered_is_there_after_a_kill,
        a_changed_schema_is_refused,
        a_closed_store_says_so,
    }
}
