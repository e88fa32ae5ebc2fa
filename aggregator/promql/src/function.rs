//! The table of functions: name, arguments, result. What a default Prometheus 3 has; its experimental ones are refused.
//!
//! Source: prometheus `promql/parser/functions.go`.

use crate::expr::Kind;
use Function as F;
use Kind::{Matrix, Scalar, Text, Vector};

/// A function of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[rustfmt::skip]
pub(crate) enum Function {
    // Over a window of each series.
    AbsentOverTime, AvgOverTime, Changes, CountOverTime, Delta, Deriv, FirstOverTime, Idelta, Increase, Irate, LastOverTime,
    MaxOverTime,
    MinOverTime, PredictLinear, PresentOverTime, QuantileOverTime, Rate, Resets, StddevOverTime, StdvarOverTime,
    SumOverTime,
    // Of each value.
    Abs, Acos, Acosh, Asin, Asinh, Atan, Atanh, Ceil, Clamp, ClampMax, ClampMin, Cos, Cosh, Deg, Exp, Floor, Ln, Log10,
    Log2, Rad, Round, Sgn, Sin, Sinh, Sqrt, Tan, Tanh,
    // Of each value as a time; without an argument, of the evaluation's time.
    DayOfMonth, DayOfWeek, DayOfYear, DaysInMonth, Hour, Minute, Month, Year,
    // Of histograms: the first works on classic ones, the others on native ones only, of which we have none.
    HistogramQuantile, HistogramFraction, HistogramAvg, HistogramCount, HistogramStddev, HistogramStdvar, HistogramSum,
    // Of whole vectors.
    Absent, LabelJoin, LabelReplace, ScalarOf, Sort, SortDesc, TimestampOf, VectorOf,
    // Of nothing.
    Pi, Time,
}

/// How many arguments may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arity {
    /// Each of the table.
    Exact,
    /// The last may be left out.
    OptionalLast,
    /// The last may come any number of times, or not at all.
    Repeated,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signature {
    pub function: Function,
    pub name: &'static str,
    pub args: &'static [Kind],
    pub arity: Arity,
    pub returns: Kind,
}

/// Known to Prometheus, but only where it is told to be adventurous.
pub(crate) const EXPERIMENTAL: &[&str] = &[
    "double_exponential_smoothing",
    "end",
    "histogram_quantiles",
    "info",
    "integral",
    "mad_over_time",
    "range",
    "sort_by_label",
    "sort_by_label_desc",
    "start",
    "step",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
];

const fn row(function: Function, name: &'static str, args: &'static [Kind]) -> Signature {
    Signature { function, name, args, arity: Arity::Exact, returns: Vector }
}

const fn optional(function: Function, name: &'static str, args: &'static [Kind]) -> Signature {
    Signature { function, name, args, arity: Arity::OptionalLast, returns: Vector }
}

const fn scalar(function: Function, name: &'static str, args: &'static [Kind]) -> Signature {
    Signature { function, name, args, arity: Arity::Exact, returns: Scalar }
}

/// Sorted by name.
pub(crate) const FUNCTIONS: &[Signature] = &[
    row(F::Abs, "abs", &[Vector]),
    row(F::Absent, "absent", &[Vector]),
    row(F::AbsentOverTime, "absent_over_time", &[Matrix]),
    row(F::Acos, "acos", &[Vector]),
    row(F::Acosh, "acosh", &[Vector]),
    row(F::Asin, "asin", &[Vector]),
    row(F::Asinh, "asinh", &[Vector]),
    row(F::Atan, "atan", &[Vector]),
    row(F::Atanh, "atanh", &[Vector]),
    row(F::AvgOverTime, "avg_over_time", &[Matrix]),
    row(F::Ceil, "ceil", &[Vector]),
    row(F::Changes, "changes", &[Matrix]),
    row(F::Clamp, "clamp", &[Vector, Scalar, Scalar]),
    row(F::ClampMax, "clamp_max", &[Vector, Scalar]),
    row(F::ClampMin, "clamp_min", &[Vector, Scalar]),
    row(F::Cos, "cos", &[Vector]),
    row(F::Cosh, "cosh", &[Vector]),
    row(F::CountOverTime, "count_over_time", &[Matrix]),
    optional(F::DayOfMonth, "day_of_month", &[Vector]),
    optional(F::DayOfWeek, "day_of_week", &[Vector]),
    optional(F::DayOfYear, "day_of_year", &[Vector]),
    optional(F::DaysInMonth, "days_in_month", &[Vector]),
    row(F::Deg, "deg", &[Vector]),
    row(F::Delta, "delta", &[Matrix]),
    row(F::Deriv, "deriv", &[Matrix]),
    row(F::Exp, "exp", &[Vector]),
    row(F::FirstOverTime, "first_over_time", &[Matrix]),
    row(F::Floor, "floor", &[Vector]),
    row(F::HistogramAvg, "histogram_avg", &[Vector]),
    row(F::HistogramCount, "histogram_count", &[Vector]),
    row(F::HistogramFraction, "histogram_fraction", &[Scalar, Scalar, Vector]),
    row(F::HistogramQuantile, "histogram_quantile", &[Scalar, Vector]),
    row(F::HistogramStddev, "histogram_stddev", &[Vector]),
    row(F::HistogramStdvar, "histogram_stdvar", &[Vector]),
    row(F::HistogramSum, "histogram_sum", &[Vector]),
    optional(F::Hour, "hour", &[Vector]),
    row(F::Idelta, "idelta", &[Matrix]),
    row(F::Increase, "increase", &[Matrix]),
    row(F::Irate, "irate", &[Matrix]),
    Signature { arity: Arity::Repeated, ..row(F::LabelJoin, "label_join", &[Vector, Text, Text, Text]) },
    row(F::LabelReplace, "label_replace", &[Vector, Text, Text, Text, Text]),
    row(F::LastOverTime, "last_over_time", &[Matrix]),
    row(F::Ln, "ln", &[Vector]),
    row(F::Log10, "log10", &[Vector]),
    row(F::Log2, "log2", &[Vector]),
    row(F::MaxOverTime, "max_over_time", &[Matrix]),
    row(F::MinOverTime, "min_over_time", &[Matrix]),
    optional(F::Minute, "minute", &[Vector]),
    optional(F::Month, "month", &[Vector]),
    scalar(F::Pi, "pi", &[]),
    row(F::PredictLinear, "predict_linear", &[Matrix, Scalar]),
    row(F::PresentOverTime, "present_over_time", &[Matrix]),
    row(F::QuantileOverTime, "quantile_over_time", &[Scalar, Matrix]),
    row(F::Rad, "rad", &[Vector]),
    row(F::Rate, "rate", &[Matrix]),
    row(F::Resets, "resets", &[Matrix]),
    optional(F::Round, "round", &[Vector, Scalar]),
    scalar(F::ScalarOf, "scalar", &[Vector]),
    row(F::Sgn, "sgn", &[Vector]),
    row(F::Sin, "sin", &[Vector]),
    row(F::Sinh, "sinh", &[Vector]),
    row(F::Sort, "sort", &[Vector]),
    row(F::SortDesc, "sort_desc", &[Vector]),
    row(F::Sqrt, "sqrt", &[Vector]),
    row(F::StddevOverTime, "stddev_over_time", &[Matrix]),
    row(F::StdvarOverTime, "stdvar_over_time", &[Matrix]),
    row(F::SumOverTime, "sum_over_time", &[Matrix]),
    row(F::Tan, "tan", &[Vector]),
    row(F::Tanh, "tanh", &[Vector]),
    scalar(F::Time, "time", &[]),
    row(F::TimestampOf, "timestamp", &[Vector]),
    row(F::VectorOf, "vector", &[Scalar]),
    optional(F::Year, "year", &[Vector]),
];

impl Function {
    /// The function of this name; names have a case.
    pub fn named(name: &str) -> Option<&'static Signature> {
        FUNCTIONS.binary_search_by(|row| row.name.cmp(name)).ok().map(|index| &FUNCTIONS[index])
    }

    /// Its row of the table.
    pub fn signature(self) -> &'static Signature {
        FUNCTIONS.iter().find(|row| row.function == self).expect("a test finds every function in the table")
    }

    /// Whether it looks at a window of each series.
    pub fn is_over_window(self) -> bool {
        self.signature().args.contains(&Matrix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_has_each_function_once() {
        assert!(FUNCTIONS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(EXPERIMENTAL.windows(2).all(|pair| pair[0] < pair[1]));
        for row in FUNCTIONS {
            assert_eq!(Function::named(row.name).map(|found| found.function), Some(row.function));
            assert_eq!(row.function.signature().name, row.name);
            assert!(!EXPERIMENTAL.contains(&row.name));
        }
        assert!(Function::named("Rate").is_none());
    }
}
