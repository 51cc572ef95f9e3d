//! Sums of structs of counters.

/// Implements [`std::ops::Add`] for a struct, field by field.
#[macro_export]
macro_rules! add_fields {
    ($name:ident { $($field:ident),+ $(,)? }) => {
        impl ::std::ops::Add for $name {
            type Output = Self;

            fn add(self, other: Self) -> Self {
                Self { $($field: self.$field.saturating_add(other.$field)),+ }
            }
        }
    };
}
