//! The mutants, and what kills each.

/// A test that fails while the mutant is armed.
#[derive(Clone, Copy, Debug)]
pub struct Killer {
    /// The test target, as cargo names it.
    pub target: &'static str,
    /// The test's whole name.
    pub test: &'static str,
}

/// One mutant.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The switch.
    pub mutant: Mutant,
    /// The statements it breaks.
    pub rules: &'static [&'static str],
    /// What happens while it is armed.
    pub broken: &'static str,
    /// What notices.
    pub killer: Killer,
}

macro_rules! table {
    ($($mutant:ident $rules:tt $broken:literal killed by $target:literal $test:literal;)*) => {
        /// A rule that can be broken. What each does is in its row of [`TABLE`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $(#[doc = $broken] $mutant,)*
        }

        /// All mutants.
        pub const TABLE: &[Row] = &[$(Row {
            mutant: Mutant::$mutant,
            rules: &$rules,
            broken: $broken,
            killer: Killer { target: $target, test: $test },
        },)*];
    };
}

table! {
    P1Answer ["P1", "O4"] "what promises something leaves before the write it depends on"
        killed by "raft" "elections::a_vote_is_on_disk_before_it_is_given";
    P1Leader ["P1", "S14"] "a leader counts its own entries before they are on its disk"
        killed by "raft" "replication::a_leader_sends_before_its_own_disk_and_counts_itself_after_it";
    P1Retry ["P1"] "a log whose write failed is written to again"
        killed by "faults" "after_a_failed_fsync_nothing_is_acknowledged";
    P1Settled ["P1"] "a start counts what an earlier process failed to sync as durable"
        killed by "faults" "a_start_counts_on_nothing_that_an_earlier_process_failed_to_sync";
    S3Voters ["S3", "N1"] "non-voters count like voters"
        killed by "quorate_raft" "membership::tests::majorities_before_and_after_a_change_always_meet";
    S4Once ["S4"] "a second vote in a term"
        killed by "raft" "elections::a_member_votes_once_in_a_term";
    S4Log ["S4"] "a vote for a log that is behind"
        killed by "raft" "elections::only_a_log_that_is_up_to_date_gets_a_vote";
    S6Term ["S6"] "an entry of an earlier term is committed by counting"
        killed by "raft" "paper::a_leader_commits_only_entries_of_its_own_term_by_counting";
    S7One ["S7", "K13"] "a change while another is under way"
        killed by "raft" "membership::a_second_change_in_flight_is_refused_at_once";
    S7Ready ["S7", "K13"] "a change before the term's first commit"
        killed by "raft" "membership::a_change_waits_for_the_first_commit_of_the_term_and_no_longer_than_the_deadline";
    S9 ["S9"] "a truncated configuration stays in effect"
        killed by "raft" "membership::a_configuration_that_is_truncated_is_rolled_back";
    S11 ["S11"] "a leader that hears no quorum stays"
        killed by "raft" "elections::a_leader_without_a_quorum_steps_down_within_two_checks";
    S18 ["S18"] "the target of a transfer is asked before it holds everything"
        killed by "raft" "transfer::timeout_now_is_sent_only_when_the_target_has_acknowledged_everything";
    S21 ["S21"] "an entry is not applied"
        killed by "raft" "paper::a_follower_applies_what_is_committed_in_log_order";
    S22 ["S22"] "entries that are there are dropped and taken again"
        killed by "raft" "paper::a_repeated_request_changes_nothing";
    S29Ready ["S29", "K11"] "a read is answered before the term's first commit"
        killed by "raft" "reads::a_new_leader_answers_no_read_before_it_commits_in_its_term";
    S29Round ["S29", "K11"] "any answer confirms a read, an earlier one too"
        killed by "raft" "reads::only_answers_to_a_round_begun_after_the_read_count";
    B1 ["B1"] "the same leader in a new term is not told as a new leadership"
        killed by "raft" "elections::a_leader_that_was_elected_again_is_announced_as_lost_and_gained";
    B2 ["B2"] "a snapshot is made on the thread that a stop waits for"
        killed by "cluster" "stopping::a_member_whose_snapshot_stands_still_is_stopped_as_soon_as_any_other";
    B3 ["B3"] "leadership is given to a non-voter"
        killed by "raft" "transfer::a_transfer_goes_only_to_another_voter";
    B4 ["B4"] "a transfer asked of a candidate is never answered"
        killed by "raft" "transfer::a_transfer_on_a_candidate_is_refused_at_once";
    B5 ["B5"] "a changed address is ignored"
        killed by "raft" "membership::an_address_moves_and_may_repeat";
    B6 ["B6"] "numbers of a peer are not checked"
        killed by "raft" "hostile::an_invalid_message_is_counted_and_changes_nothing";
    B7 ["B7", "S1", "A34"] "a removed member or non-voter campaigns"
        killed by "raft" "elections::a_removed_server_and_a_non_voter_never_campaign";
    B8 ["B8", "K9"] "whoever votes asks whether its own configuration knows the candidate"
        killed by "raft" "elections::a_voter_that_does_not_know_the_candidate_votes_for_it_all_the_same";
    B9 ["B9", "K10"] "a message of an earlier term is not answered"
        killed by "raft" "elections::a_non_voter_with_a_higher_term_costs_one_election";
    B10 ["B10"] "writes are taken while leadership is handed over"
        killed by "raft" "statements::while_leadership_is_handed_over_nothing_enters_the_log";
    B11 ["B11"] "the pause before a probe is repeated grows without end"
        killed by "quorate_raft" "progress::tests::an_unanswered_probe_is_repeated_after_growing_pauses";
    B12 ["B12", "K2"] "a directory in use is bootstrapped"
        killed by "raft" "bootstrap::bootstrap_is_refused_for_any_other_identity_or_a_directory_in_use";
    B13 ["B13", "K25"] "the pipeline to a follower has no end"
        killed by "raft" "replication::a_pipeline_stays_within_its_limits";
    B15 ["B15"] "a look-up finds another directory under the same Raft ID"
        killed by "quorate_raft" "membership::tests::a_lookup_compares_what_it_is_asked_for";
    B16 ["B16"] "the leader's address is not that of its ID"
        killed by "raft" "statements::the_leader_s_id_and_address_move_together";
    B17 ["B17", "K10"] "elections begin without a pre-vote"
        killed by "raft" "elections::a_member_that_comes_back_from_a_partition_disturbs_nobody";
    B18 ["B18", "S24"] "what is told of an installed snapshot is another index"
        killed by "raft" "statements::an_installed_snapshot_is_told_with_its_own_numbers";
    O1 ["O1"] "a heartbeat of a higher term is heard and deposes nobody"
        killed by "raft" "statements::a_heartbeat_of_a_higher_term_at_any_point_of_a_commit_ends_the_leader_at_once";
    O2 ["O2"] "a transfer that failed leaves its flag behind for very long"
        killed by "raft" "transfer::a_transfer_to_an_unreachable_target_gives_up_and_writes_go_on";
    O3 ["O3"] "a snapshot that conflicts with the log leaves the log's tail"
        killed by "raft" "snapshots::a_snapshot_that_conflicts_with_the_tail_replaces_the_whole_log";
    O4 ["O4"] "the vote is not written with the term"
        killed by "raft" "paper::a_follower_votes_first_come_first_served";
    O5 ["O5"] "an answer of an earlier replication counts"
        killed by "raft" "replication::a_late_reply_from_an_earlier_membership_changes_nothing";
    O6 ["O6"] "what stands just before the log is not known any more"
        killed by "raft" "snapshots::a_follower_behind_the_log_gets_one_snapshot_and_then_the_log";
    O8 ["O8", "S12"] "the answer to a heartbeat waits for the disk"
        killed by "raft" "replication::an_append_is_acknowledged_only_once_it_is_on_disk";
    N1 ["N1"] "non-voters confirm a read"
        killed by "raft" "reads::non_voters_confirm_no_read";
    N2 ["N2"] "a follower commits beyond what the message showed"
        killed by "raft" "replication::a_follower_commits_no_further_than_the_entries_of_the_message";
    N3 ["N3"] "a snapshot at or below the commit index is installed"
        killed by "raft" "snapshots::a_late_snapshot_rewinds_nothing";
    N4 ["N4"] "anybody may ask for a campaign, in any term"
        killed by "raft" "transfer::a_timeout_now_counts_only_from_the_current_leader_and_only_for_a_voter";
    N5 ["N5"] "a change decided on another configuration is taken"
        killed by "raft" "membership::a_change_decided_on_an_old_configuration_is_refused";
    N6 ["N6", "S10"] "a leader without a vote leads on"
        killed by "raft" "membership::a_demoted_leader_follows";
    K1 ["K1"] "a message for another directory under our Raft ID is taken"
        killed by "raft" "elections::a_message_for_another_incarnation_is_answered_with_volume_lost";
    K1Minted ["K1"] "all directories have the same incarnation"
        killed by "directory" "a_directory_is_created_once_with_a_random_incarnation";
    K2 ["K2"] "an identity other than the recorded one is bootstrapped"
        killed by "raft" "bootstrap::bootstrap_is_refused_for_any_other_identity_or_a_directory_in_use";
    K3 ["K3"] "the core lets the log forget what no synced flush holds"
        killed by "quorate_raft" "compaction::tests::the_log_keeps_its_retention_and_whatever_is_not_synced";
    K3Store ["K3"] "the store forgets what its state file does not hold"
        killed by "log" "compaction_stops_at_the_durable_state";
    K3Gap ["K3"] "a log that begins behind the state is opened"
        killed by "directory" "a_gap_between_state_and_log_is_refused";
    K4 ["K4"] "a flush is one transaction per table"
        killed by "state" "a_crash_at_any_call_of_a_flush_leaves_one_of_two_states";
    K4Ahead ["K4"] "a flush is ahead of what the log holds on disk"
        killed by "state" "a_flush_ahead_of_the_log_is_refused_and_can_be_retried";
    K5 ["K5"] "entries after a snapshot are handed out before its state is in place"
        killed by "raft" "snapshots::nothing_is_applied_while_a_snapshot_is_being_installed";
    K5Named ["K5"] "the log names a state file that is not there"
        killed by "snapshot" "a_snapshot_that_was_never_received_is_not_installed";
    K5Retired ["K5"] "a state file that was replaced is flushed"
        killed by "snapshot" "a_flush_of_the_replaced_state_is_refused";
    K6 ["K6"] "a commit index learned without a write is not stored"
        killed by "raft" "replication::a_commit_index_is_stored_within_a_second";
    K5Shared ["K5"] "a snapshot that is unwanted the second time is removed, though the first may be wanted"
        killed by "snapshot" "a_snapshot_that_came_twice_is_kept_while_one_of_them_may_be_wanted";
    K7Resume ["K7"] "an interrupted transfer is gone on with for another snapshot"
        killed by "snapshot" "an_interrupted_transfer_goes_on_only_for_the_same_snapshot";
    K7 ["K7"] "the log forgets what a live follower still needs"
        killed by "raft" "snapshots::the_log_waits_for_a_live_follower_within_the_greater_limit";
    K8 ["K8"] "the floor of free space is a percentage only"
        killed by "quorate_store" "disk::tests::space_is_low_below_the_larger_of_256_mib_and_5_percent";
    K8Majority ["K8"] "voters whose volumes are nearly full do not count"
        killed by "quorate_sidecar" "driver::room::tests::a_majority_of_the_voters_counts_and_nobody_else";
    K9 ["K9", "S3"] "votes of servers outside the configuration count"
        killed by "raft" "elections::votes_of_strangers_non_voters_and_other_incarnations_count_for_nothing";
    K10 ["K10", "S4"] "a vote while a leader is known"
        killed by "raft" "elections::no_vote_is_given_and_no_term_raised_while_a_leader_is_known";
    K11 ["K11"] "a heartbeat of an earlier term is answered under today's"
        killed by "raft" "reads::an_answer_to_a_heartbeat_of_an_earlier_term_belongs_to_no_replication";
    K11Joined ["K11"] "a read joins the question that is under way"
        killed by "quorate_sidecar" "driver::read_rounds::tests::a_read_that_comes_during_a_question_waits_for_the_next";
    K12 ["K12"] "the end of any peer's process counts as the leader's"
        killed by "raft" "early::evidence_about_anybody_else_changes_nothing";
    K13Reachable ["K13"] "a change whose quorum does not answer"
        killed by "raft" "membership::a_removal_that_would_lose_the_quorum_is_refused";
    K13Stable ["K13"] "a vote for a server that was stable under another leader"
        killed by "raft" "membership::a_promotion_needs_a_caught_up_server_that_is_stable_in_this_term";
    K13CaughtUp ["K13"] "a vote for a server that lacks entries"
        killed by "raft" "membership::a_promotion_needs_a_caught_up_server_that_is_stable_in_this_term";
    K14 ["K14"] "while joint only the old half counts"
        killed by "raft" "replace::a_joint_configuration_commits_nothing_with_one_of_its_majorities";
    K14Leave ["K14"] "a leader leaves a joint configuration before it has committed in its term"
        killed by "raft" "replace::a_new_leader_leaves_only_after_the_first_commit_of_its_term";
    K15 ["K15"] "a voter that does its work is replaced"
        killed by "raft" "replace::a_voter_that_answers_is_not_replaced_unless_it_was_declared_to_leave";
    K16 ["K16", "O7", "A32"] "an address may not repeat"
        killed by "raft" "statements::a_group_whose_addresses_have_all_changed_elects_a_leader_within_ten_seconds";
    K17Index ["K17", "B14"] "a restore does not raise the index above the archive's"
        killed by "quorate_machine" "restored::tests::the_index_after_a_restore_exceeds_ours_and_the_archive_s";
    K17Staged ["K17"] "a staged archive is removed while an entry of the log may name it"
        killed by "restore" "a_staged_archive_stays_while_an_entry_may_name_it";
    K17Quorum ["K17", "S25"] "a restore is proposed that no quorum has on disk"
        killed by "cluster" "restore::an_archive_that_no_majority_can_take_is_not_restored";
    K17Still ["K17"] "the configuration changes while an archive is restored"
        killed by "cluster" "restore::while_an_archive_is_restored_the_configuration_stands_still";
    K17Lock ["K17", "K21"] "after a restore a lock may count as one that was given before"
        killed by "quorate_machine" "restored::tests::the_lock_index_after_a_restore_exceeds_the_archive_s_and_ours";
    K17Carried ["K17", "K13"] "voters change though a loss could then leave nobody who has what was restored"
        killed by "raft" "restores::voters_change_only_while_a_quorum_of_the_new_ones_has_what_was_restored";
    K17Adopt ["K17"] "who lacks an archive wants no snapshot of what its log holds"
        killed by "raft" "restores::who_lacks_an_archive_moves_to_a_snapshot_and_its_log_stays";
    K17Leader ["K17"] "a leader that lacks an archive goes on leading"
        killed by "raft" "restores::a_leader_that_lacks_an_archive_hands_over_to_one_that_has_it";
    K18Lost ["K18", "S28"] "a recovery without the user's word for each lost voter"
        killed by "quorate_store" "recovery::tests::the_lost_must_be_exactly_the_other_voters";
    K18Epoch ["K18"] "changes of membership forget the recovery epoch"
        killed by "raft" "recovery::changes_after_a_recovery_keep_its_epoch";
    K18Archive ["K18", "K17"] "a survivor is recovered that lacks the archive of a restore in its log"
        killed by "recovery" "a_survivor_without_the_archive_that_its_log_restores_is_refused";
    K18Index ["K18", "K20"] "after a recovery indexes of the lost end of the log are given out again"
        killed by "quorate_machine" "tests::dedup::what_was_given_out_in_the_lost_end_of_a_log_is_not_given_out_again";
    K18Directory ["K18"] "the directory of a recovered member stays in its old epoch"
        killed by "recovery" "a_crash_at_any_call_of_a_recovery_leaves_the_old_directory_or_the_recovered_one";
    S28 ["S28", "K18"] "a recovery counts only what the survivor knew to be committed"
        killed by "raft" "recovery::the_whole_log_is_committed_and_sealed_by_a_configuration_of_one";
    K19 ["K19", "A34"] "a removed member does not say so"
        killed by "raft" "membership::a_removed_follower_knows_it_and_says_removed_even_after_a_restart";
    K20 ["K20"] "a command that was applied is applied again"
        killed by "quorate_machine" "tests::dedup::a_retry_gets_the_first_answer_and_changes_nothing";
    K22 ["K22"] "entries of an application are dropped that no snapshot has"
        killed by "quorate_machine" "tests::application::nothing_is_trimmed_that_no_snapshot_has";
    K21Holder ["K21", "A37"] "a key that another session holds is acquired"
        killed by "quorate_machine" "tests::locks::a_key_has_one_holder";
    K21Round ["K21", "A36"] "a renewal is acknowledged by a leader that nobody confirmed"
        killed by "cluster" "sessions::a_leader_that_nobody_hears_acknowledges_no_renewal";
    K21Clock ["K21", "A35", "A36"] "a new leader goes on with the time that an earlier one measured"
        killed by "quorate_sidecar" "driver::sessions::timers::tests::a_new_leadership_gives_every_session_its_whole_time";
    K21Twice ["K21", "A35"] "a session is given its time once, so that a clock that runs fast ends it early"
        killed by "quorate_tests" "simulation::tests::a_session_lives_as_long_as_its_client_was_told";
    K21Destroy ["K21", "A36"] "a renewal is acknowledged while the session's end is proposed"
        killed by "quorate_sidecar" "driver::sessions::timers::tests::a_session_whose_end_is_proposed_is_not_renewed";
    K24Raise ["K24"] "a connection that ended still says what the peer speaks"
        killed by "raft" "version::the_version_is_raised_only_while_every_present_connection_speaks_it";
    K24Kind ["K24"] "a new kind of entry does not wait for its version"
        killed by "raft" "version::entries_of_a_new_kind_wait_for_their_version";
    K24Committed ["K24"] "a raise that may yet be rolled back opens the gate"
        killed by "raft" "version::an_uncommitted_raise_opens_nothing";
    K24Join ["K24"] "a server that does not speak the cluster's version is added"
        killed by "raft" "version::a_server_that_does_not_speak_the_version_is_not_added";
    S27 ["S27", "K24", "S21"] "entries of a version that this build does not speak are taken"
        killed by "raft" "version::entries_of_a_version_beyond_ours_are_not_taken_and_people_are_told";
    K25 ["K25"] "what is written and not committed has no bound"
        killed by "raft" "replication::a_leader_refuses_more_than_the_uncommitted_limit";
    I1 ["I1"] "rules after the one that decided a step are tried, too"
        killed by "planner" "properties::no_step_takes_the_majority_away";
    I2Remove ["I2", "P3"] "a voter is removed, or marked to leave, whatever would be left"
        killed by "planner" "properties::no_step_takes_the_majority_away";
    I2Restart ["I2", "P3"] "a voter is restarted though the others are no majority"
        killed by "planner" "guards::nobody_is_restarted_while_another_voter_is_away";
    I3Change ["I3", "K13"] "a change is decided on while another is in flight"
        killed by "planner" "properties::no_step_takes_the_majority_away";
    I3Index ["I3", "K13"] "a change carries another index than the one it was decided on"
        killed by "planner" "convergence::one_three_five_three_one_arrives_at_each_size";
    I4Early ["I4"] "a claim and its Pod go before their ID has left"
        killed by "planner" "properties::no_step_takes_the_majority_away";
    I4Policy ["I4", "K34"] "claims of members that left for any reason are deleted"
        killed by "planner" "stories::stories_read_as_written";
    I6 ["I6", "K2"] "another directory than the recorded one begins the cluster"
        killed by "planner" "stories::stories_read_as_written";
    I7 ["I7"] "labels are written that are there"
        killed by "planner" "properties::a_settled_cluster_gives_no_writes";
    I9 ["I9", "P6"] "what is held back does not say whom it is about"
        killed by "planner" "stories::stories_read_as_written";
    I10 ["I10", "K34"] "the Pod of a claim that was set aside stays"
        killed by "planner" "stories::stories_read_as_written";
    R0 ["K35", "I8"] "a Pod that was made for another claim and never ran stays"
        killed by "planner" "guards::a_pod_that_was_made_for_another_claim_goes";
    E1 ["I8"] "a Pod that has ended is not made anew"
        killed by "planner" "guards::a_pod_that_has_ended_is_made_anew";
    E2Both ["I8"] "a Pod that does not start is replaced though the current template fails as well"
        killed by "planner" "guards::a_pod_is_not_replaced_by_a_template_that_fails_elsewhere";
    E2Heard ["I2"] "a Pod that does not run is replaced though a leader has just heard it"
        killed by "planner" "guards::a_pod_that_a_leader_hears_is_not_taken_for_one_that_does_not_start";
    R2 ["K48"] "a pause stops nothing"
        killed by "planner" "stories::stories_read_as_written";
    R3 ["K18", "P7"] "a quorum is recovered on a word that does not hold"
        killed by "planner" "stories::stories_read_as_written";
    R3Over ["I8", "K18"] "a recovery is not over while its survivor does not answer"
        killed by "planner" "replacing::the_survivor_of_a_recovery_may_be_lost_later";
    R3Leaving ["I8", "K18"] "a member that was leaving cannot be the survivor"
        killed by "planner" "replacing::a_member_that_was_leaving_may_be_the_survivor";
    R4 ["K41"] "a Pod is stopped while its claim is being deleted, and the data goes with it"
        killed by "planner" "stories::stories_read_as_written";
    R6 ["P7"] "a cluster whose every volume is gone goes on as if it could be led"
        killed by "planner" "stories::stories_read_as_written";
    R7 ["K32", "I9"] "without a view the round does not say so"
        killed by "planner" "stories::stories_read_as_written";
    R10 ["K33"] "a volume is called lost though its member was just heard"
        killed by "planner" "stories::stories_read_as_written";
    K33 ["K33"] "the absence of a claim is taken from a list"
        killed by "planner" "stories::stories_read_as_written";
    R11 ["K39"] "more than one member an hour is replaced"
        killed by "planner" "guards::a_second_broken_member_waits_for_an_hour";
    K39 ["K39", "K18"] "a directory from before a recovery counts as damaged"
        killed by "planner" "stories::stories_read_as_written";
    R12 ["P9"] "a leader is removed without handing over"
        killed by "planner" "properties::no_step_takes_the_majority_away";
    K37Unlabel ["K37"] "a voter is removed that the budget still counts"
        killed by "planner" "guards::the_budget_counts_a_voter_before_it_votes_and_until_it_leaves";
    K37Raise ["K37"] "a newcomer is counted before the budget is raised"
        killed by "planner" "guards::the_budget_counts_a_voter_before_it_votes_and_until_it_leaves";
    R13 ["I2", "K34"] "several members leave at once"
        killed by "planner" "stories::stories_read_as_written";
    R15Alone ["I8"] "the only voter waits for another to hand over to before it is replaced"
        killed by "planner" "replacing::the_only_voter_is_replaced_when_a_person_asks";
    R15First ["I8"] "two that both are to be replaced hand leadership to each other"
        killed by "planner" "replacing::of_two_that_both_go_one_leads_while_the_other_is_replaced";
    R15Leaving ["I8"] "a member is not replaced before another has left that cannot leave without it"
        killed by "planner" "replacing::one_that_will_not_come_back_is_replaced_before_one_that_cannot_leave_without_it";
    R15Needless ["I8", "K15"] "a replacement whose old one stays waits for ever"
        killed by "planner" "replacing::a_replacement_that_nobody_needs_any_more_leaves_and_another_member_joins";
    R15Standby ["K39"] "stand-bys that are merely silent are replaced one right after the other"
        killed by "planner" "zones::silent_stand_bys_are_replaced_one_an_hour";
    R16Standby ["I8", "A24"] "a stand-by is waited for until it votes"
        killed by "planner" "zones::six_members_over_three_zones_are_ready_with_a_voter_in_each";
    K37Standby ["K37"] "the budget counts who stands by"
        killed by "planner" "zones::six_members_over_three_zones_are_ready_with_a_voter_in_each";
    R15One ["K15"] "a replacement is begun before another has ended"
        killed by "planner" "guards::one_replacement_joins_at_a_time";
    K41 ["K41", "P7"] "of several claims that are being deleted one member after the other is replaced"
        killed by "planner" "stories::stories_read_as_written";
    R16 ["I8"] "members that never catch up are started over for ever"
        killed by "planner" "stories::stories_read_as_written";
    R17Marked ["I10"] "a member is added that is marked to leave in the same round"
        killed by "planner" "replacing::a_member_that_is_marked_to_leave_is_not_added";
    R17Deleted ["I8", "K41"] "a claim that is deleted before its member was added blocks everything"
        killed by "planner" "replacing::a_claim_deleted_before_its_member_was_added_goes_with_its_pod";
    R17Stranded ["I8", "K49"] "a newcomer waits for ever for a node that is no more"
        killed by "planner" "replacing::a_newcomer_whose_volume_no_node_can_mount_starts_over";
    K34 ["K34"] "a member is added before its directory is on record"
        killed by "planner" "stories::stories_read_as_written";
    R18 ["I2"] "several members join at once"
        killed by "planner" "properties::no_step_takes_the_majority_away";
    R18Leaving ["I8"] "the only voter is to leave, and waits for another that waits for it to leave"
        killed by "planner" "replacing::the_only_voter_that_is_to_leave_waits_for_another_to_join";
    R19 ["I2", "K38", "A33"] "a rollout goes on before the last member is back"
        killed by "planner" "guards::a_rollout_waits_for_the_application_of_the_last_member";
    R19Successor ["I8", "P9"] "leadership goes back and forth between rollout and replacement"
        killed by "planner" "replacing::a_rollout_hands_leadership_to_nobody_that_is_to_be_replaced";
    K36 ["K36"] "a Pod is evicted though the budget says that none may go"
        killed by "planner" "stories::stories_read_as_written";
    K45 ["K45"] "what something else made is taken for ours"
        killed by "planner" "guards::what_something_else_made_is_left_alone";
    A2 ["A2"] "contact as long ago as the threshold is too long ago"
        killed by "rounds" "health::contact_is_good_up_to_and_including_the_threshold";
    A2Term ["A2"] "the term that a server's log ends in does not matter"
        killed by "rounds" "health::the_log_must_be_of_the_leaders_term_and_within_the_limit";
    A3 ["A3", "P6"] "a lost quorum looks like a tolerance of zero"
        killed by "rounds" "health::failure_tolerance_and_a_lost_quorum_are_two_things";
    A4 ["A4", "K55"] "what was seen in an earlier term still counts"
        killed by "rounds" "health::a_new_term_starts_every_clock_anew";
    A5 ["A5", "D1"] "the stability clock never restarts"
        killed by "rounds" "health::stable_since_is_the_time_of_the_last_flip";
    A6 ["A6", "P5"] "a vote before the stabilization time"
        killed by "rounds" "promotion::a_new_member_gets_no_vote_before_unbroken_health_for_the_stabilization_time";
    A7 ["A7", "D2"] "what is not heard of does not grow old"
        killed by "rounds" "health::a_server_that_is_not_heard_of_ages_and_turns_unhealthy";
    A9 ["A9"] "lists are in the order of IDs"
        killed by "rounds" "promotion::lists_are_in_one_order";
    K27Samples ["K27"] "one late contact makes a server unhealthy"
        killed by "rounds" "health::a_late_contact_must_be_seen_three_times_in_a_row";
    K27Lag ["K27"] "whoever trails lags, however fast the log grows"
        killed by "rounds" "health::a_server_that_keeps_pace_is_healthy_however_fast_the_log_grows";
    K55 ["K55", "A8"] "every leader spares newcomers the stabilization time"
        killed by "rounds" "promotion::only_the_first_leader_after_bootstrap_promotes_at_once";
    K15Waits ["K15"] "a replacement does not wait for the old one to go"
        killed by "rounds" "promotion::a_replacement_waits_as_long_as_the_old_one_does_its_work";
    K15FactAge ["K15"] "what the platform once said counts for ever"
        killed by "rounds" "health::an_acknowledgement_after_the_fact_refutes_it_and_facts_grow_old";
    K15Heard ["K15"] "the platform is believed against the leader's own ears"
        killed by "rounds" "health::an_acknowledgement_after_the_fact_refutes_it_and_facts_grow_old";
    K15Swap ["K15"] "a newcomer is swapped in though more voters are wanted"
        killed by "rounds" "removal::below_min_quorum_a_newcomer_is_added";
    A12Leader ["A12"] "a follower acts"
        killed by "rounds" "promotion::only_the_leader_acts";
    P7Off ["P7"] "switched off it acts all the same"
        killed by "rounds" "removal::without_reconciling_nothing_is_done";
    K24Outdated ["K24"] "the version is raised though the operator says that a member is outdated"
        killed by "rounds" "version::with_an_operator_its_word_decides";
    A15Newcomer ["A15", "A18"] "a newcomer counts as silent for as long as its leader leads"
        killed by "rounds" "removal::a_newcomer_has_a_whole_threshold_to_be_heard";
    A30Version ["A30"] "a server without a version gets a vote in an upgrade"
        killed by "rounds" "upgrade::a_server_without_a_version_gets_no_vote";
    A10Demote ["A10", "P3"] "a vote is taken whatever would be left"
        killed by "rounds" "upgrade::old_voters_stay_while_new_ones_are_down";
    A10One ["A10"] "a change is decided though another one is made in this round"
        killed by "rounds" "removal::removals_come_one_a_round_and_not_into_another_change";
    A11Late ["A11", "P5"] "a vote in a moment in which the server is late"
        killed by "rounds" "promotion::nobody_is_promoted_in_a_round_that_saw_it_late";
    A11Leader ["A11"] "the leader is demoted like anybody else"
        killed by "rounds" "deviations::the_leader_is_never_demoted_by_itself";
    A11Leaving ["A11"] "whoever is leaving gets a vote"
        killed by "rounds" "promotion::voters_unhealthy_and_leaving_servers_are_not_promoted";
    A12Changing ["A12", "D8"] "a change is decided while another is under way"
        killed by "rounds" "deviations::d8_every_action_is_a_compare_and_set_and_one_is_under_way_at_a_time";
    A13 ["A13"] "any number of voters is removed"
        killed by "rounds" "removal::the_limit_counts_what_was_removed_before";
    A13Window ["A13", "D7"] "each pass begins to count anew"
        killed by "rounds" "removal::within_one_threshold_less_than_half_of_the_voters_are_removed";
    A14 ["A14", "D3"] "no minimum of voters binds anything"
        killed by "rounds" "removal::no_removal_leaves_fewer_voters_than_min_quorum";
    A15Known ["A15", "D4"] "whoever is in no statistics is removed"
        killed by "rounds" "removal::who_is_not_in_the_statistics_is_not_removed";
    A15Leader ["A15"] "a new leader removes before it has listened"
        killed by "rounds" "removal::a_new_leader_listens_before_it_removes_anybody";
    A16 ["A16", "D6"] "nobody knows whether it runs, so it is dead"
        killed by "rounds" "removal::a_newcomer_has_a_whole_threshold_to_be_heard";
    A17Potential ["A17", "D5"] "a newcomer counts like a voter before it is one"
        killed by "rounds" "deviations::d5_a_newcomer_counts_once_it_votes";
    A17Healthy ["A17"] "a dead voter is removed though too few of those left are well"
        killed by "rounds" "removal::nobody_is_removed_if_those_left_have_no_healthy_majority";
    A17Lost ["A17", "P3"] "changes are tried though the quorum is lost"
        killed by "rounds" "removal::with_the_quorum_lost_nobody_is_removed";
    A18 ["A18"] "a snapshot that arrives is no sign of life"
        killed by "rounds" "removal::a_joiner_that_receives_a_snapshot_is_not_removed_while_bytes_advance";
    A18Begun ["A18"] "a transfer that begins is a sign of life"
        killed by "rounds" "removal::a_transfer_that_begins_again_and_again_is_no_sign_of_life";
    A18Bytes ["A18"] "how much of a snapshot has arrived is not known"
        killed by "rounds" "removal::what_a_transfer_says_is_in_the_picture";
    A19 ["A19"] "any number of voters is removed for an address"
        killed by "rounds" "vectors::servers_are_added_as_in_the_vectors";
    A20Zero ["A20"] "a threshold of zero is taken"
        killed by "rounds" "settings::zeros_are_refused_by_name";
    A20Quorum ["A20"] "any minimum of voters is taken"
        killed by "rounds" "settings::computed_values_are_valid_and_set_ones_are_checked";
    A20Threshold ["A20"] "any dead server threshold is taken"
        killed by "rounds" "settings::computed_values_are_valid_and_set_ones_are_checked";
    A20Cleanup ["A20"] "dead servers are removed though cleanup is off"
        killed by "rounds" "removal::with_cleanup_off_the_dead_stay_and_it_is_said";
    A23 ["A23", "P6"] "what is held back is not said"
        killed by "rounds" "promotion::what_is_held_back_says_why_in_numbers_and_since_when";
    A24Failed ["A24"] "a failed zone voter loses its vote to nobody"
        killed by "rounds" "zones::a_failed_voter_keeps_its_vote_while_nobody_can_take_it";
    A25 ["A25"] "an extra voter goes before the recovered one is stable"
        killed by "rounds" "zones::an_extra_voter_stays_until_the_recovered_voter_is_stable";
    A26 ["A26"] "unhealthy stand-bys are counted on"
        killed by "rounds" "zones::only_healthy_stand_bys_and_a_quorum_are_counted_on";
    A27 ["A27"] "a stand-by is promoted before the failed voter is demoted"
        killed by "rounds" "zones::a_voter_and_then_its_stand_by_may_die";
    A28 ["A28"] "a server whose zone is not known counts as one without a zone"
        killed by "rounds" "zones::a_dead_leader_keeps_its_zone";
    A29Await ["A29"] "an upgrade begins with too few new servers"
        killed by "rounds" "upgrade::golden_b_awaits_new_voters";
    A29Old ["A29"] "old servers get their votes back"
        killed by "rounds" "upgrade::an_upgrade_of_three_by_three_goes_through_its_statuses_in_order";
    A29Transfer ["A29"] "leadership goes to a server that is not well"
        killed by "rounds" "upgrade::leadership_goes_only_to_a_healthy_voter";
    A29Zone ["A29"] "leadership goes to a version with less redundancy"
        killed by "rounds" "upgrade::leadership_waits_for_as_much_redundancy_in_every_zone";
    A30Frozen ["A30"] "an upgrade goes on though a voter's version is not known"
        killed by "rounds" "upgrade::an_unknown_version_of_any_voter_freezes_the_upgrade";
    A31 ["A31"] "read replicas count in their zone"
        killed by "rounds" "zones::read_replicas_count_nowhere";
    A31Vote ["A31"] "a read replica gets a vote"
        killed by "rounds" "promotion::a_read_replica_is_never_promoted";
}

/// Rules without a switch, and why.
pub const NOT_BROKEN: &[(&str, &str)] = &[
    ("I5", "no step of the planner gives a vote, so there is none to break"),
    ("K23", "about ports and certificates, not the core: tests of the sidecar hold it"),
    ("K26", "values, not behaviour"),
    ("A1", "the vectors: what they show are the rules below it"),
    ("A21", "shapes of answers: tests of the sidecar hold them"),
    ("A22", "what is published: tests of the sidecar with real members hold it"),
    ("D9", "the rounds are given one time and one set of settings: there is no clock to read"),
];
