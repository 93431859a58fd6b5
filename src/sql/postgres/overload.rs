//! Which overload of a function a call means: func_get_detail of parse_func.c, as far as the types of
//! its arguments are known here. What cannot be told apart stays, so that the caller is asked for all
//! that any of it needs.

use crate::sql::catalog::{Catalog, Function, TypeId, TypeKind};

/// What is known of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    /// Its type.
    Type(TypeId),
    /// A string or NULL without a type, which becomes whatever fits.
    Literal,
    /// Nothing.
    Unknown,
}

/// A function that a call may mean.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'t> {
    /// Its schema.
    pub schema: &'t str,
    /// Its name.
    pub name: &'t str,
    /// The rest.
    pub function: &'t Function,
}

/// How a call is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// How many arguments.
    pub count: usize,
    /// The last one is an array of arguments (VARIADIC).
    pub variadic: bool,
    /// Some are given by name, so that defaults may stand anywhere.
    pub named: bool,
    /// Output arguments of procedures are written too, and are not in the catalog: any count fits.
    pub any_count: bool,
}

impl Function {
    /// Whether a call of that shape may mean it.
    pub(super) fn takes(&self, shape: Shape) -> bool {
        let inputs = self.inputs.len();
        let required = inputs.saturating_sub(usize::from(self.defaults));
        let gathers = self.variadic != 0 && !shape.variadic;
        shape.any_count
            || (required..=inputs).contains(&shape.count)
            || (gathers && shape.count >= inputs)
    }

    /// The type that it wants at a position.
    fn input(&self, at: usize, shape: Shape) -> TypeId {
        let last = self.inputs.len().saturating_sub(1);
        if self.variadic != 0 && !shape.variadic && shape.count >= self.inputs.len() && at >= last {
            return self.variadic;
        }
        self.inputs.get(at).copied().unwrap_or(0)
    }
}

/// Whether a value can become one of another type without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fits {
    Yes,
    No,
    /// Rows, arrays, polymorphic types: not decided here.
    Perhaps,
}

/// The type below domains.
pub(super) fn base(catalog: &Catalog, id: TypeId) -> TypeId {
    let mut id = id;
    // Domains over domains are a chain; the server allows no circle.
    for _ in 0..32 {
        match catalog.types.get(&id) {
            Some(found) if found.base != 0 => id = found.base,
            _ => break,
        }
    }
    id
}

fn fits(catalog: &Catalog, argument: Argument, wanted: TypeId) -> Fits {
    let from = match argument {
        Argument::Unknown => return Fits::Perhaps,
        Argument::Literal => return Fits::Yes,
        Argument::Type(id) => id,
    };
    if from == wanted {
        return Fits::Yes;
    }
    let (from, wanted) = (base(catalog, from), base(catalog, wanted));
    if from == wanted {
        return Fits::Yes;
    }
    let (Some(source), Some(target)) = (catalog.types.get(&from), catalog.types.get(&wanted))
    else {
        return Fits::Perhaps;
    };
    if let Some(implicit) = catalog.casts.get(&(from, wanted)) {
        return if *implicit { Fits::Yes } else { Fits::No };
    }
    let open = |kind| matches!(kind, TypeKind::Pseudo | TypeKind::Composite);
    if open(source.kind) || open(target.kind) || (source.element != 0 && target.element != 0) {
        return Fits::Perhaps;
    }
    Fits::No
}

/// Whether a value of the argument may become one of that type without being asked.
pub(super) fn may_become(catalog: &Catalog, argument: Argument, wanted: TypeId) -> bool {
    fits(catalog, argument, wanted) != Fits::No
}

/// The candidates that the server may choose: one where that can be told.
pub(super) fn resolve<'t>(
    catalog: &Catalog,
    mut candidates: Vec<Candidate<'t>>,
    arguments: &[Argument],
    shape: Shape,
) -> Vec<Candidate<'t>> {
    let plain = !shape.named && !shape.any_count && arguments.len() == shape.count;
    if !plain {
        return candidates;
    }
    let wants = |candidate: &Candidate<'_>| -> Vec<TypeId> {
        (0..shape.count).map(|at| candidate.function.input(at, shape)).collect()
    };
    // What stands earlier in the path hides what takes the same types later.
    let mut kept: Vec<(Candidate<'t>, Vec<TypeId>)> = Vec::with_capacity(candidates.len());
    for candidate in candidates.drain(..) {
        let types = wants(&candidate);
        let hidden = kept
            .iter()
            .any(|(earlier, known)| earlier.schema != candidate.schema && *known == types);
        if !hidden {
            kept.push((candidate, types));
        }
    }
    let exact = |types: &[TypeId]| {
        let mut pairs = arguments.iter().zip(types);
        pairs.all(|(argument, wanted)| *argument == Argument::Type(*wanted))
    };
    if kept.iter().any(|(_, types)| exact(types)) {
        kept.retain(|(_, types)| exact(types));
        return kept.into_iter().map(|(candidate, _)| candidate).collect();
    }
    let mut sure = true;
    kept.retain(|(_, types)| {
        let mut kept = true;
        for (argument, wanted) in arguments.iter().zip(types) {
            match fits(catalog, *argument, *wanted) {
                Fits::Yes => {}
                Fits::No => kept = false,
                Fits::Perhaps => sure = false,
            }
        }
        kept
    });
    if sure && kept.len() > 1 {
        kept = select(catalog, kept, arguments);
    }
    kept.into_iter().map(|(candidate, _)| candidate).collect()
}

type Typed<'t> = (Candidate<'t>, Vec<TypeId>);

/// The candidates that score highest.
fn best<'t>(list: Vec<Typed<'t>>, score: impl Fn(&[TypeId]) -> usize) -> Vec<Typed<'t>> {
    let highest = list.iter().map(|(_, types)| score(types)).max().unwrap_or(0);
    list.into_iter().filter(|(_, types)| score(types) == highest).collect()
}

/// func_select_candidate of parse_func.c: all of the list can take the arguments. When nothing decides,
/// the server calls the call ambiguous; then all stay.
fn select<'t>(catalog: &Catalog, list: Vec<Typed<'t>>, arguments: &[Argument]) -> Vec<Typed<'t>> {
    let known: Vec<Option<TypeId>> = arguments
        .iter()
        .map(|argument| match argument {
            Argument::Type(id) => Some(base(catalog, *id)),
            Argument::Literal | Argument::Unknown => None,
        })
        .collect();
    let facts =
        |id: TypeId| catalog.types.get(&id).map_or(('X', false), |t| (t.category, t.preferred));
    let list = best(list, |types| {
        known.iter().zip(types).filter(|(known, wanted)| **known == Some(**wanted)).count()
    });
    if list.len() == 1 {
        return list;
    }
    let list = best(list, |types| {
        let fitting = known.iter().zip(types).filter(|(known, wanted)| {
            known.is_some_and(|id| id == **wanted || facts(**wanted) == (facts(id).0, true))
        });
        fitting.count()
    });
    if list.len() == 1 || known.iter().all(Option::is_some) {
        return list;
    }
    let list = by_category(list, &known, facts);
    if list.len() == 1 {
        return list;
    }
    // Literals are taken to be of the type that the other arguments share.
    let mut types = known.iter().flatten();
    if let Some(first) = types.next()
        && types.all(|other| other == first)
    {
        let fitting = |(_, types): &&Typed<'t>| {
            types.iter().all(|wanted| fits(catalog, Argument::Type(*first), *wanted) == Fits::Yes)
        };
        if list.iter().filter(fitting).count() == 1 {
            return list.iter().filter(fitting).cloned().collect();
        }
    }
    list
}

/// Decides what untyped literals are by the categories of what the candidates want: strings, if any
/// takes strings.
fn by_category<'t>(
    list: Vec<Typed<'t>>,
    known: &[Option<TypeId>],
    facts: impl Fn(TypeId) -> (char, bool),
) -> Vec<Typed<'t>> {
    let mut slots: Vec<Option<(char, bool)>> = Vec::with_capacity(known.len());
    for (at, known) in known.iter().enumerate() {
        if known.is_some() {
            slots.push(None);
            continue;
        }
        let (mut category, mut preferred, mut conflict) = (None, false, false);
        for (_, types) in &list {
            let (found, is_preferred) = facts(types.get(at).copied().unwrap_or(0));
            match category {
                None => (category, preferred) = (Some(found), is_preferred),
                Some(seen) if seen == found => preferred |= is_preferred,
                Some(_) if found == 'S' => {
                    (category, preferred) = (Some('S'), is_preferred);
                }
                Some('S') => {}
                Some(_) => conflict = true,
            }
        }
        if conflict && category != Some('S') {
            return list;
        }
        slots.push(category.map(|category| (category, preferred)));
    }
    let fitting = |types: &[TypeId]| {
        slots.iter().zip(types).all(|(slot, wanted)| {
            slot.is_none_or(|(category, preferred)| {
                let (found, is_preferred) = facts(*wanted);
                found == category && (is_preferred || !preferred)
            })
        })
    };
    let kept: Vec<Typed<'t>> = list.iter().filter(|(_, types)| fitting(types)).cloned().collect();
    if kept.is_empty() { list } else { kept }
}
