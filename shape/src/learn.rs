//! Learning of templates: the lexer that makes a sample smallest, the strings that are split, the plan of columns.

use std::collections::{HashMap, HashSet};

use crate::plan::{Plan, Planner};
use crate::records::Records;
use crate::template::{ColumnKey, Graph, Lexer};

/// Bytes of the sample on which lexers are compared.
const TRIAL_MAX: usize = 128 << 10;
/// Delimiters of fields.
const DELIMITERS: [u8; 4] = *b",\t;|";
/// Distinct constant parts of a string that is split, at most.
const PATTERNS_MAX: usize = 32;

/// Template and plan of similar records.
#[derive(Debug, Clone)]
pub(crate) struct Learned {
    pub(crate) graph: Graph,
    pub(crate) plan: Plan,
}

/// Learns from a sample; `None` if it has no template.
pub(crate) fn learn(sample: Records<'_>, planner: &mut Planner) -> Option<Learned> {
    let trial = sample.first(TRIAL_MAX);
    let mut best: Option<(f64, Lexer)> = None;
    let lexers = lexers(trial);
    let is_only = lexers.len() == 1;
    for lexer in lexers {
        let Some(learned) = learn_with(lexer.clone(), trial, planner) else { continue };
        let lexer = with_splits(&learned, lexer.clone(), trial, planner).unwrap_or(lexer);
        let cost = if is_only { 0.0 } else { learned.cost() };
        if best.as_ref().is_none_or(|(least, _)| cost < *least) {
            best = Some((cost, lexer));
        }
    }
    let mut learned = learn_with(best?.1, sample, planner)?;
    learned.plan.choices = planner.choices(&learned.graph);
    Some(learned)
}

impl Learned {
    /// Expected bytes of a block, about.
    fn cost(&self) -> f64 {
        let choices: usize = self.graph.nodes().iter().map(|node| node.choices().len()).sum();
        let segments: usize = self.graph.nodes().iter().map(|node| self.graph.segment(node).len() + 4).sum();
        self.plan.cost() + choices as f64 / 4.0 + segments as f64 / 2.0
    }
}

fn learn_with(lexer: Lexer, sample: Records<'_>, planner: &mut Planner) -> Option<Learned> {
    let mut graph = Graph::new(lexer);
    graph.read(sample).ok()?;
    let plan = planner.plan(&graph, sample.len(), sample.bytes());
    Some(Learned { graph, plan })
}

/// Lexers that may fit.
fn lexers(sample: Records<'_>) -> Vec<Lexer> {
    let begins = |record: &&[u8]| matches!(record.trim_ascii_start().first(), Some(b'{' | b'['));
    if sample.iter().filter(begins).count() * 2 > sample.len() {
        return vec![Lexer::json()];
    }
    let mut lexers = vec![Lexer::words()];
    let uses = |delimiter: u8| sample.bytes().iter().filter(|byte| **byte == delimiter).count();
    let most_used = DELIMITERS.into_iter().max_by_key(|delimiter| uses(*delimiter));
    lexers.extend(most_used.filter(|delimiter| uses(*delimiter) >= sample.len()).map(Lexer::fields));
    lexers
}

/// Lexer that splits those strings at their digits for which this saves bytes.
fn with_splits(whole: &Learned, lexer: Lexer, sample: Records<'_>, planner: &mut Planner) -> Option<Lexer> {
    let Lexer::Json(_) = lexer else { return None };
    let eligible: HashSet<u32> = splittable(whole, sample.bytes()).collect();
    if eligible.is_empty() {
        return None;
    }
    let mut split = Lexer::json();
    split.split(eligible.iter().copied());
    let split = learn_with(split, sample, planner)?;
    let before = costs(whole);
    let after = costs(&split);
    let cost = |costs: &HashMap<u32, f64>, path: u32| costs.get(&path).copied().unwrap_or(0.0);
    let mut lexer = Lexer::json();
    lexer.split(eligible.into_iter().filter(|path| cost(&after, *path) + 16.0 < cost(&before, *path)));
    Some(lexer)
}

/// Paths of strings with digits, whose other parts are few.
fn splittable(learned: &Learned, bytes: &[u8]) -> impl Iterator<Item = u32> {
    let columns = learned.graph.keys().iter().zip(learned.graph.tokens());
    columns.filter_map(move |(key, tokens)| {
        let mut patterns = HashSet::new();
        let mut with_digits = 0;
        for token in tokens {
            let token = token.of(bytes);
            let pattern: Vec<u8> = token.iter().copied().filter(|byte| !byte.is_ascii_digit()).collect();
            with_digits += usize::from(pattern.len() < token.len() && !pattern.is_empty());
            patterns.insert(pattern);
            if patterns.len() > PATTERNS_MAX {
                return None;
            }
        }
        let is_enough = with_digits * 8 >= tokens.len() * 7 && patterns.len() * 16 <= tokens.len();
        is_enough.then_some(key.path)
    })
}

/// Expected bytes of each path. The paths of one text are numbered alike whether strings are split or not.
fn costs(learned: &Learned) -> HashMap<u32, f64> {
    let mut costs = HashMap::new();
    for (ColumnKey { path, .. }, cost) in learned.graph.keys().iter().zip(&learned.plan.costs) {
        *costs.entry(*path).or_insert(0.0) += cost;
    }
    costs
}
