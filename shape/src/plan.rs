//! Plans: for each column the kind and the predictor that make it smallest, found by trying them on a sample.

use std::borrow::Cow;

use crate::align::Aligned;
use crate::column::{Kind, Parsed, Parser, Tokens};
use crate::pack::Packer;
use crate::skeleton::{Chains, Skeleton, best_predictor};
use crate::stream::{Parents, Predictor, Scratch, cost, forward};
use crate::template::{Graph, Node};

/// Rows of each column that are tried.
const ROWS_MAX: usize = 4_096;
const ROWS_MIN: usize = 512;
/// Columns of which all rows are tried.
const FEW_COLUMNS: usize = 32;
/// Columns that are tried in pairs: those that predict best alone, and the last before the column.
const BEST_ALONE: usize = 8;
const LAST_BEFORE: usize = 3;
/// Earlier columns from which a column may be predicted: the nearest.
const OTHERS_MAX: usize = 48;
/// Columns whose tokens are looked for in others, or the reverse.
const INNER_MAX: usize = 64;
/// Rows in which tokens are looked for in others.
const INNER_ROWS: usize = 128;
/// Bytes by which a predictor with other columns has to be better, for the memory and time that it takes.
const WORTH: f64 = 8.0;

/// Coding of a column. Parents are numbers of columns in the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ColumnPlan {
    pub(crate) kind: Kind,
    pub(crate) predictor: Predictor,
    pub(crate) parents: [usize; 2],
}

/// Plan of all columns of a graph with the compressed bytes that it is expected to need.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub(crate) columns: Vec<Option<ColumnPlan>>,
    /// Expected bytes of each column.
    pub(crate) costs: Vec<f64>,
    /// Columns in the order in which they are coded.
    pub(crate) order: Vec<usize>,
    /// Predictor of the choices at each node.
    pub(crate) choices: Vec<Predictor>,
}

impl Plan {
    pub(crate) fn cost(&self) -> f64 {
        self.costs.iter().sum()
    }

    /// Columns that the block in `graph` uses, in the order in which they are coded.
    pub(crate) fn used(&self, graph: &Graph) -> Vec<usize> {
        let known = self.order.iter().copied();
        known
            .chain(self.columns.len()..graph.keys().len())
            .filter(|column| !graph.tokens()[*column].is_empty())
            .collect()
    }
}

/// Finds plans, with reusable memory.
#[derive(Debug)]
pub(crate) struct Planner {
    parser: Parser,
    packer: Packer,
    scratch: Scratch,
    packed: Vec<u8>,
    /// Rows of each column that are tried: few if there are many columns.
    rows_tried: usize,
}

impl Default for Planner {
    fn default() -> Self {
        Self {
            parser: Parser::default(),
            packer: Packer::new(1),
            scratch: Scratch::default(),
            packed: Vec::new(),
            rows_tried: ROWS_MAX,
        }
    }
}

/// Column whose predictor is looked for.
struct Target<'a> {
    /// Values that are tried, the first of `rows`.
    values: &'a [i64],
    rows: usize,
    is_number: bool,
    /// Earlier columns, aligned to this one.
    others: &'a [Other<'a>],
}

struct Other<'a> {
    column: usize,
    is_number: bool,
    values: Cow<'a, [i64]>,
}

/// The best predictor so far.
#[derive(Debug, Clone, Copy)]
struct Best {
    cost: f64,
    predictor: Predictor,
    parents: [usize; 2],
}

const NO_BEST: Best = Best { cost: f64::MAX, predictor: Predictor::Base, parents: [0; 2] };

/// The best predictor without other columns or with one, and the others in order of how well they predict.
struct Ranking {
    best: Best,
    others: Vec<usize>,
}

impl Target<'_> {
    /// Rows for each row that is tried.
    fn share(&self) -> f64 {
        self.rows as f64 / self.values.len().max(1) as f64
    }
}

impl Planner {
    /// Plans the columns of a graph, which was shown `records` records of a sample.
    pub(crate) fn plan(&mut self, graph: &Graph, records: usize, bytes: &[u8]) -> Plan {
        let inner = inner_columns(graph, bytes, &mut self.parser);
        let order = order(&inner);
        let columns: Vec<usize> = order.iter().copied().filter(|column| !graph.tokens()[*column].is_empty()).collect();
        let skeleton = Skeleton::of(graph, &columns);
        let Ok(chains) = Chains::of(&skeleton) else { return Plan::default() };
        let Ok(walk) = chains.walk(&skeleton, skeleton.choices(), records, usize::MAX) else { return Plan::default() };
        let record_numbers = walk.records_of(&vec![true; columns.len()]);
        let count = graph.keys().len();
        let many = (columns.len() / FEW_COLUMNS).max(1);
        self.rows_tried = (ROWS_MAX / (many * many)).max(ROWS_MIN);
        let mut plan = Plan { columns: vec![None; count], costs: vec![0.0; count], order, choices: Vec::new() };
        let mut values: Vec<Vec<i64>> = Vec::new();
        let is_varied = |values: &[i64]| values.iter().any(|value| *value != values[0]);
        for (number, column) in columns.iter().enumerate() {
            let tokens = Tokens { bytes, spans: &graph.tokens()[*column] }.first(ROWS_MAX);
            let tokens_of = |column: usize| Tokens { bytes, spans: &graph.tokens()[column] }.first(ROWS_MAX);
            let inner_tokens = inner[*column].map(|inner| (inner, tokens_of(inner)));
            let own = &record_numbers[number][..tokens.spans.len()];
            let rows = graph.tokens()[*column].len();
            let mut others = Vec::new();
            let nearest = number.saturating_sub(OTHERS_MAX);
            for (other, values) in values.iter().enumerate().skip(nearest).filter(|(_, values)| is_varied(values)) {
                let Some(kind) = plan.columns[columns[other]].as_ref().map(|plan| &plan.kind) else { continue };
                let other_rows = graph.tokens()[columns[other]].len();
                let len = if other_rows == rows { tokens.spans.len().min(values.len()) } else { values.len() };
                let aligned = Aligned { values: &values[..len], records: &record_numbers[other][..len], before: 0 };
                let values = if other_rows == rows { Cow::Borrowed(aligned.values) } else { aligned.to_unequal(own) };
                others.push(Other { column: columns[other], is_number: is_number(kind), values });
            }
            let (column_plan, cost, parsed) = self.plan_column(tokens, inner_tokens, &others);
            plan.columns[*column] = Some(column_plan);
            plan.costs[*column] = cost * rows as f64 / tokens.spans.len() as f64;
            values.push(parsed.values);
        }
        plan
    }

    /// Predictors of the choices of a graph, which are part of the plan that is kept.
    pub(crate) fn choices(&mut self, graph: &Graph) -> Vec<Predictor> {
        let mut predictor = |node: &Node| {
            let choices: Vec<i64> = node.choices().iter().take(ROWS_MAX).map(|choice| i64::from(*choice)).collect();
            best_predictor(&choices, &mut self.scratch)
        };
        graph.nodes().iter().map(&mut predictor).collect()
    }

    fn plan_column(
        &mut self,
        tokens: Tokens<'_>,
        inner: Option<(usize, Tokens<'_>)>,
        others: &[Other<'_>],
    ) -> (ColumnPlan, f64, Parsed) {
        let mut best: Option<(f64, Kind, Parsed)> = None;
        let mut kinds = self.kinds(tokens);
        kinds.extend(inner.map(|(column, _)| Kind::Around(column)));
        for kind in kinds {
            let parsed = self.parser.parse(&kind, tokens, inner.map(|(_, tokens)| tokens));
            let text = self.packed_len(&parsed.text) as f64;
            let target = self.target(&kind, &parsed.values, others);
            let cost = text + self.try_alone(&target).best.cost * target.share();
            if best.as_ref().is_none_or(|(least, ..)| cost < *least) {
                best = Some((cost, kind, parsed));
            }
        }
        let (_, kind, parsed) = best.unwrap_or_else(|| (0.0, Kind::Raw, Parsed::default()));
        let text = self.packed_len(&parsed.text) as f64;
        let target = self.target(&kind, &parsed.values, others);
        let found = self.best_of_all(&target);
        let cost = text + found.cost * target.share();
        let plan = ColumnPlan { kind, predictor: found.predictor, parents: found.parents };
        (plan, cost, parsed)
    }

    fn target<'a>(&self, kind: &Kind, values: &'a [i64], others: &'a [Other<'a>]) -> Target<'a> {
        let tried = &values[..values.len().min(self.rows_tried)];
        Target { values: tried, rows: values.len(), is_number: is_number(kind), others }
    }

    /// Kinds that the tokens may have.
    fn kinds(&mut self, tokens: Tokens<'_>) -> Vec<Kind> {
        let mut kinds = Kind::candidates(tokens.iter());
        let distinct = self.parser.distinct(tokens);
        if distinct * 2 <= tokens.spans.len() || distinct < 2 {
            kinds.push(Kind::Dictionary);
        }
        if kinds.is_empty() || distinct * 8 > tokens.spans.len() && kinds == [Kind::Dictionary] {
            kinds.push(Kind::Raw);
        }
        kinds
    }

    /// Plan of a column that was not in the sample.
    pub(crate) fn plan_alone(&mut self, tokens: Tokens<'_>) -> ColumnPlan {
        let kind = self.kinds(tokens.first(ROWS_MAX)).into_iter().next().unwrap_or(Kind::Raw);
        let parsed = self.parser.parse(&kind, tokens.first(ROWS_MAX), None);
        let predictor = if kind.has_values() { self.predictor_alone(&parsed.values) } else { Predictor::Base };
        ColumnPlan { kind, predictor, parents: [0; 2] }
    }

    /// The better of the two cheapest predictors.
    pub(crate) fn predictor_alone(&mut self, values: &[i64]) -> Predictor {
        let mut best = NO_BEST;
        let target = Target { values, rows: values.len(), is_number: true, others: &[] };
        for predictor in [Predictor::Base, Predictor::Previous] {
            self.try_on(&target, predictor, [None; 2], &mut best);
        }
        best.predictor
    }

    fn packed_len(&mut self, text: &[u8]) -> usize {
        self.packed.clear();
        if text.is_empty() || !self.packer.pack(text, &[], &mut self.packed) { text.len() } else { self.packed.len() }
    }

    fn try_on(&mut self, target: &Target<'_>, predictor: Predictor, parents: [Option<&Other<'_>>; 2], best: &mut Best) {
        let [a, b] = parents.map(|other| other.map_or(&[][..], |other| &other.values));
        if [a, b].iter().take(predictor.parents()).any(|values| values.len() < target.values.len()) {
            return;
        }
        let Scratch { memory, residuals } = &mut self.scratch;
        memory.reset(predictor.has_table(), target.values.len());
        forward(predictor, target.values, Parents { a, b }, memory, residuals);
        let cost = cost(residuals) + WORTH * predictor.parents() as f64;
        if cost < best.cost {
            let parents = parents.map(|other| other.map_or(0, |other| other.column));
            *best = Best { cost, predictor, parents };
        }
    }

    /// Tries predictors without other columns, and with one.
    fn try_alone(&mut self, target: &Target<'_>) -> Ranking {
        let mut best = NO_BEST;
        for predictor in [Predictor::Base, Predictor::Previous, Predictor::SameSelf, Predictor::SameSelfPair] {
            self.try_on(target, predictor, [None; 2], &mut best);
        }
        let mut costs = Vec::new();
        if best.cost > WORTH {
            for (index, other) in target.others.iter().enumerate() {
                let mut alone = NO_BEST;
                self.try_one(target, other, &mut alone);
                costs.push((alone.cost, index));
                if alone.cost < best.cost {
                    best = alone;
                }
            }
        }
        costs.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        Ranking { best, others: costs.into_iter().map(|(_, index)| index).collect() }
    }

    fn try_one(&mut self, target: &Target<'_>, other: &Other<'_>, best: &mut Best) {
        for predictor in [Predictor::Same, Predictor::SameSelfWith, Predictor::Minus, Predictor::MinusStep] {
            let is_difference = matches!(predictor, Predictor::Minus | Predictor::MinusStep);
            if !is_difference || target.is_number && other.is_number {
                self.try_on(target, predictor, [Some(other), None], best);
            }
        }
    }

    /// The best predictor, pairs of columns included.
    fn best_of_all(&mut self, target: &Target<'_>) -> Best {
        let Ranking { mut best, others } = self.try_alone(target);
        if others.is_empty() {
            return best;
        }
        let mut chosen: Vec<usize> = others.into_iter().take(BEST_ALONE).collect();
        chosen.extend((target.others.len().saturating_sub(LAST_BEFORE)..target.others.len()).rev());
        chosen.sort_unstable();
        chosen.dedup();
        for (number, first) in chosen.iter().map(|index| &target.others[*index]).enumerate() {
            for second in chosen[number + 1..].iter().map(|index| &target.others[*index]) {
                self.try_on(target, Predictor::SamePair, [Some(first), Some(second)], &mut best);
                if target.is_number && first.is_number && second.is_number {
                    self.try_on(target, Predictor::MinusDifference, [Some(first), Some(second)], &mut best);
                    self.try_on(target, Predictor::MinusDifference, [Some(second), Some(first)], &mut best);
                }
            }
        }
        best
    }
}

/// Column for each column whose tokens nearly all of its tokens contain: the one with the most bytes.
fn inner_columns(graph: &Graph, bytes: &[u8], parser: &mut Parser) -> Vec<Option<usize>> {
    let tokens: Vec<Tokens<'_>> =
        graph.tokens().iter().map(|spans| Tokens { bytes, spans }.first(INNER_ROWS)).collect();
    let len_of = |tokens: &Tokens<'_>| tokens.iter().map(<[u8]>::len).sum::<usize>();
    let mut varied = |tokens: &Tokens<'_>| {
        let rows = tokens.spans.len();
        rows >= INNER_ROWS / 4 && len_of(tokens) >= rows * 3 && parser.distinct(*tokens) * 8 > rows
    };
    let varied: Vec<usize> = (0..tokens.len()).filter(|column| varied(&tokens[*column])).take(INNER_MAX).collect();
    let mut inner = vec![None; tokens.len()];
    for column in &varied {
        let rows = graph.tokens()[*column].len();
        let fits = |other: &&usize| {
            let [own, others] = [&tokens[*column], &tokens[**other]];
            let [own_len, other_len] = [own, others].map(len_of);
            let may = graph.tokens()[**other].len() == rows
                && (other_len < own_len || other_len == own_len && *other < column);
            may && Kind::contains(own.iter().zip(others.iter()))
        };
        inner[*column] = varied.iter().filter(fits).copied().max_by_key(|other| len_of(&tokens[*other]));
    }
    inner
}

/// Order of the columns in which those that others are around come before these.
fn order(inner: &[Option<usize>]) -> Vec<usize> {
    let mut order = Vec::with_capacity(inner.len());
    let mut is_placed = vec![false; inner.len()];
    for column in 0..inner.len() {
        // Each is around a column with fewer bytes, so this ends.
        let mut waiting: Vec<usize> = std::iter::successors(Some(column), |column| inner[*column]).collect();
        while let Some(column) = waiting.pop() {
            if !std::mem::replace(&mut is_placed[column], true) {
                order.push(column);
            }
        }
    }
    order
}

/// Returns whether differences between the values mean something.
const fn is_number(kind: &Kind) -> bool {
    matches!(kind, Kind::Integer(_) | Kind::Decimal(_) | Kind::Time(_))
}
