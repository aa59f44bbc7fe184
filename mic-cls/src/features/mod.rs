//! What the network makes of two domains: a map of the features in the plane, and how well the
//! domains can be told apart.

mod collect;
mod domain_distance;
mod embedding;
mod principal;
mod scatter;

pub use collect::{Features, collect};
pub use domain_distance::{DomainDistance, domain_distance};
pub use embedding::{Embedding, embed};
pub use principal::{Principal, principal_components};
pub use scatter::{Dot, class_colour, scatter};
