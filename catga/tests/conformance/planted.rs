//! The suite itself is tried: for each rule there is a backend that breaks it, and the suite must say so.

mod store;
mod topic;
mod values;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use catga::{
    conformance::{self, Fixture, Rule, Stores},
    store::BoxFuture,
};

use self::{
    store::{Log, PlantedStore, Wrong as Store},
    topic::{PlantedTopic, Topic, Wrong as Transport},
    values::{PlantedValues, Values, Wrong as Value},
};

/// What is wrong with a backend.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    Nothing,
    Store(Store),
    Values(Value),
    Topic(Transport),
}

/// A backend that is wrong in one way.
struct Planted {
    wrong: Wrong,
    log: Arc<Log>,
    values: Arc<Values>,
    topic: Arc<Topic>,
    /// A store that was opened last: when it is gone, all is closed.
    last: Mutex<Vec<Weak<PlantedStore>>>,
}

impl Planted {
    fn new(wrong: Wrong) -> Self {
        let (log, values, topic, last) = Default::default();
        Self { wrong, log, values, topic, last }
    }
}

impl Fixture for Planted {
    fn open(&self) -> BoxFuture<'_, Stores> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_start = last.iter().all(|store| store.strong_count() == 0);
        let (store, value, topic) = match self.wrong {
            Wrong::Nothing => (None, None, None),
            Wrong::Store(wrong) => (Some(wrong), None, None),
            Wrong::Values(wrong) => (None, Some(wrong), None),
            Wrong::Topic(wrong) => (None, None, Some(wrong)),
        };
        let store = Arc::new(PlantedStore::open(&self.log, store, is_start));
        last.push(Arc::downgrade(&store));
        let values = Arc::new(PlantedValues::open(&self.values, value, is_start));
        let stores = Stores::new(store, values);
        // What is wrong with a log is to be seen in the log, and not in a copy of it.
        let stores = match topic {
            Some(_) => stores
                .with_transport(Arc::new(PlantedTopic { topic: self.topic.clone(), wrong: topic })),
            None => stores,
        };
        Box::pin(std::future::ready(stores))
    }
}

/// Each backend that is wrong, and the rules that it must be found by.
const PLANTED: &[(Wrong, &[&str])] = &[
    (Wrong::Store(Store::HasACommitAtFirst), &["a_new_log_is_empty"]),
    (
        Wrong::Store(Store::AnswersTheLastPosition),
        &["an_append_takes_a_position_for_each_event", "an_append_that_was_lost_is_done"],
    ),
    (Wrong::Store(Store::TakesAnyVersion), &["an_append_at_another_version_conflicts"]),
    (Wrong::Store(Store::AnswersANoFromAConflict), &["an_append_at_another_version_conflicts"]),
    (
        Wrong::Store(Store::AnswersOkToAConflict),
        &[
            "an_append_at_another_version_conflicts",
            "an_append_that_was_lost_to_another_writer_is_told_apart",
        ],
    ),
    (Wrong::Store(Store::TellsTheWrongVersion), &["a_conflict_tells_the_version"]),
    (Wrong::Store(Store::WritesAtAConflict), &["a_conflict_writes_nothing"]),
    (Wrong::Store(Store::ConflictsAcrossStreams), &["a_conflict_is_about_one_stream"]),
    (Wrong::Store(Store::TakesCaseForNothing), &["streams_of_similar_names_are_apart"]),
    (Wrong::Store(Store::CutsLargeCommits), &["the_largest_commit_is_whole"]),
    (Wrong::Store(Store::StoresWhatItRefuses), &["a_commit_that_is_refused_is_not_written"]),
    (
        Wrong::Store(Store::ChecksThenWrites),
        &["one_of_many_writers_wins", "one_of_the_writers_on_two_handles_wins"],
    ),
    (Wrong::Store(Store::LocksPerHandle), &["one_of_the_writers_on_two_handles_wins"]),
    (Wrong::Store(Store::HasAnIdPerHandle), &["a_log_has_one_id", "a_start_finds_every_commit"]),
    (Wrong::Store(Store::SaysTwoLevels), &["the_store_says_what_a_commit_survives"]),
    (
        Wrong::Store(Store::LosesTheLastCommitAtAStart),
        &[
            "a_start_finds_every_commit",
            "events_are_handled_across_restarts",
            "a_start_reads_every_byte",
        ],
    ),
    (
        Wrong::Store(Store::TakesTheSameFrameTwice),
        &[
            "an_append_whose_answer_was_lost_is_found",
            "an_append_that_was_lost_is_done",
            "an_append_that_comes_late_is_there_once",
            "commands_whose_answers_are_lost_happen_once",
            "a_command_whose_answer_was_lost_has_one_effect",
        ],
    ),
    (Wrong::Store(Store::KeepsItsLock), &["an_append_that_is_given_up_holds_up_nobody"]),
    (
        Wrong::Store(Store::ForgetsCommands),
        &[
            "a_command_that_is_sent_twice_has_one_effect",
            "a_command_that_is_sent_at_once_from_two_programs_has_one_effect",
            "a_command_has_one_effect_across_a_restart",
            "a_command_has_one_effect_across_snapshots",
            "a_command_whose_answer_was_lost_has_one_effect",
            "a_commit_comes_back_byte_for_byte",
        ],
    ),
    (Wrong::Store(Store::ReusesPositions), &["positions_rise_and_fit_in_a_json_number"]),
    (Wrong::Store(Store::StartsAtLargePositions), &["positions_rise_and_fit_in_a_json_number"]),
    (Wrong::Store(Store::SkipsAtPageEnds), &["pages_make_up_the_log"]),
    (Wrong::Store(Store::IgnoresLimits), &["pages_make_up_the_log", "pages_make_up_a_stream"]),
    (
        Wrong::Store(Store::ShowsCommitsOnlyFromTheirFirstPosition),
        &["a_read_resumes_behind_any_position"],
    ),
    (Wrong::Store(Store::EndsStreamPagesEarly), &["pages_make_up_a_stream"]),
    (
        Wrong::Store(Store::ShowsCommitsOnlyFromTheirFirstVersion),
        &["a_version_inside_a_commit_finds_the_commit"],
    ),
    (Wrong::Store(Store::SaysShortStreamsAreLong), &["a_short_read_is_the_begin_of_the_stream"]),
    (
        Wrong::Store(Store::ShowsCommitsBeforeEarlierOnes),
        &["readers_among_writers_see_one_order", "readers_of_another_handle_see_the_same_order"],
    ),
    (Wrong::Store(Store::OtherHandlesSkip), &["readers_of_another_handle_see_the_same_order"]),
    (Wrong::Store(Store::NeverWakes), &["a_reader_who_waits_is_woken"]),
    (Wrong::Store(Store::WaitsForTheNextCommit), &["a_reader_who_need_not_wait_is_not_held_up"]),
    (
        Wrong::Store(Store::HeadLagsOnOtherHandles),
        &[
            "the_head_is_no_less_than_what_was_answered",
            "a_query_sees_what_another_program_answered",
        ],
    ),
    (Wrong::Store(Store::OtherHandlesLag), &["what_was_answered_is_read_on_every_handle"]),
    (Wrong::Store(Store::ChangesLargeFrames), &["a_commit_comes_back_byte_for_byte"]),
    (Wrong::Store(Store::ShowsNoUnknownEvents), &["an_event_of_an_unknown_type_is_named"]),
    (
        Wrong::Store(Store::RefusesCatgasOwnStreams),
        &["a_poisoned_stream_is_parked_alone", "a_retry_drains_a_parked_stream_in_order"],
    ),
    (
        Wrong::Values(Value::LosesValuesAtAStart),
        &["a_start_finds_every_value", "a_stop_in_good_order_repeats_nothing"],
    ),
    (Wrong::Values(Value::ForgetsSnapshots), &["a_command_has_one_effect_across_snapshots"]),
    (Wrong::Values(Value::CutsLargeValues), &["a_value_comes_back_as_it_was_put"]),
    (
        Wrong::Values(Value::PutsOverAnyRevision),
        &["a_value_is_put_only_over_the_expected_revision"],
    ),
    (
        Wrong::Values(Value::DeletesAtAnyRevision),
        &["a_value_is_deleted_only_at_the_expected_revision"],
    ),
    (Wrong::Values(Value::ReusesRevisions), &["a_revision_never_comes_back"]),
    (Wrong::Values(Value::TakesCaseForNothing), &["keys_are_apart"]),
    (Wrong::Values(Value::ChecksThenPuts), &["one_of_many_claims_wins"]),
    (Wrong::Values(Value::IgnoresTimesToLive), &["a_value_is_gone_after_its_time_to_live"]),
    (Wrong::Values(Value::KeepsTheFirstTimeToLive), &["a_value_is_kept_for_its_time_to_live"]),
    (Wrong::Topic(Transport::EndsBeforeItsFirstCommit), &["an_empty_log_makes_an_empty_topic"]),
    (Wrong::Topic(Transport::LosesEveryTenthCommit), &["the_topic_is_the_log"]),
    (Wrong::Topic(Transport::EndsInsideACommit), &["the_topic_ends_where_the_log_does"]),
    (
        Wrong::Topic(Transport::ShowsCommitsOnlyFromTheirFirstPosition),
        &["a_topic_is_read_on_from_any_commit"],
    ),
    (Wrong::Topic(Transport::IgnoresLimits), &["a_page_of_a_topic_is_no_longer_than_its_limit"]),
    (Wrong::Topic(Transport::AddsWhatItHas), &["what_is_in_the_topic_is_not_added_again"]),
    (Wrong::Topic(Transport::AddsBehindAGap), &["nothing_is_added_behind_a_gap"]),
    (Wrong::Topic(Transport::ChecksThenAdds), &["of_two_relays_at_once_each_commit_comes_once"]),
    (Wrong::Topic(Transport::NeverWakes), &["a_reader_of_a_topic_is_woken"]),
    (
        Wrong::Topic(Transport::WaitsForTheNextCommit),
        &["a_reader_of_a_topic_who_need_not_wait_is_not_held_up"],
    ),
    (Wrong::Topic(Transport::LeavesOutAStream), &["every_event_reaches_the_handler_in_order"]),
];

fn rule(name: &str) -> &'static Rule {
    conformance::rules().find(|rule| rule.name == name).unwrap_or_else(|| panic!("no rule {name}"))
}

#[tokio::test(start_paused = true)]
async fn every_wrong_backend_is_found_by_the_rules_it_breaks() {
    let mut missed = Vec::new();
    for (wrong, rules) in PLANTED {
        for name in *rules {
            let failures = conformance::check([rule(name)], async || Planted::new(*wrong)).await;
            match failures.first() {
                Some(failure) => println!("{wrong:?}: {failure}"),
                None => missed.push(format!("{wrong:?} passed {name}")),
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn every_rule_is_broken_by_a_wrong_backend() {
    let broken: BTreeSet<_> = PLANTED.iter().flat_map(|(_, rules)| *rules).copied().collect();
    let unbroken: Vec<_> =
        conformance::rules().filter(|rule| !broken.contains(rule.name)).collect();
    assert!(unbroken.is_empty(), "nothing breaks {unbroken:?}");
}

/// What is planted is wrong in one way, and nothing else is.
#[tokio::test(start_paused = true)]
async fn the_same_backend_without_a_fault_keeps_every_promise() {
    conformance::backend(async || Planted::new(Wrong::Nothing)).await;
}
