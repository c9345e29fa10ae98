use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of one operation within its run: branch path, ordinal of the host call in that branch, the operation's
/// id and its ordinal within that call. Written `2[0].3:createSpace#0`.
///
/// Extra pages, polls and retries never change the key of a later write, because ordinals count per id and per call.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// From the root to the branch that asked; empty in the root.
    pub branch: Vec<BranchStep>,
    /// Which host call of the branch asked, counted from 0.
    pub call: u32,
    /// The operation's id.
    pub id: String,
    /// Which operation of this id in that call, counted from 0.
    pub ordinal: u32,
}

/// The name of one host call within its run: what the keys of its operations begin with. Written `2[0].3`.
///
/// They are in the order of the program: what a `parallel` does comes after what stands before it and before what stands
/// after it, element by element, whichever was faster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallKey {
    /// From the root to the branch that made it; empty in the root.
    pub branch: Vec<BranchStep>,
    /// Which host call of the branch, counted from 0.
    pub call: u32,
}

impl CallKey {
    /// Whether this is the call `from`, or one in its branches, or one after it.
    #[must_use]
    pub fn is_from(&self, from: &Self) -> bool {
        let inside = self.branch.get(from.branch.len()).is_some_and(|step| step.call == from.call)
            && self.branch.starts_with(&from.branch);
        self == from || inside || is_after((&self.branch, self.call), (&from.branch, from.call))
    }

    fn numbers(&self) -> impl Iterator<Item = u32> {
        self.branch.iter().flat_map(|step| [step.call, step.index]).chain([self.call])
    }
}

impl Ord for CallKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers().cmp(other.numbers())
    }
}

impl PartialOrd for CallKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// One step down the tree of branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BranchStep {
    /// Which host call of the parent was the `parallel`.
    pub call: u32,
    /// Which element of its list.
    pub index: u32,
}

impl Key {
    /// The host call that asked.
    #[must_use]
    pub fn call_key(&self) -> CallKey {
        CallKey { branch: self.branch.clone(), call: self.call }
    }

    /// Whether this operation was asked after the host call `call` of `branch` had ended.
    ///
    /// Branches of one `parallel` are in no order, and neither is a `parallel` with what its branches ask.
    #[must_use]
    pub fn is_after(&self, branch: &[BranchStep], call: u32) -> bool {
        is_after((&self.branch, self.call), (branch, call))
    }
}

fn is_after((branch, call): (&[BranchStep], u32), (other_branch, other_call): (&[BranchStep], u32)) -> bool {
    for (mine, theirs) in branch.iter().zip(other_branch) {
        if mine.call != theirs.call {
            return mine.call > theirs.call;
        }
        if mine.index != theirs.index {
            return false;
        }
    }
    let shared = branch.len().min(other_branch.len());
    let mine = branch.get(shared).map_or(call, |step| step.call);
    let theirs = other_branch.get(shared).map_or(other_call, |step| step.call);
    mine > theirs
}

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for CallKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CallKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_place(f, &self.branch, self.call)?;
        write!(f, ":{}#{}", self.id, self.ordinal)
    }
}

impl fmt::Display for CallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_place(f, &self.branch, self.call)
    }
}

fn write_place(f: &mut fmt::Formatter<'_>, branch: &[BranchStep], call: u32) -> fmt::Result {
    for step in branch {
        write!(f, "{}[{}].", step.call, step.index)?;
    }
    write!(f, "{call}")
}

/// The text is not a host call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a host call; one reads like `2[0].3`")]
pub struct CallKeyError(String);

impl FromStr for CallKey {
    type Err = CallKeyError;

    fn from_str(text: &str) -> Result<Self, CallKeyError> {
        let (branch, call) = place(text).ok_or_else(|| CallKeyError(text.to_owned()))?;
        Ok(Self { branch, call })
    }
}

/// The text is not a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an operation key; a key reads like `2[0].3:createSpace#0`")]
pub struct KeyError(String);

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        parse(text).ok_or_else(|| KeyError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Key> {
    let (asked, operation) = text.split_once(':')?;
    let (id, ordinal) = operation.rsplit_once('#')?;
    let (branch, call) = place(asked)?;
    if id.is_empty() {
        return None;
    }
    Some(Key { branch, call, id: id.to_owned(), ordinal: number(ordinal)? })
}

fn place(text: &str) -> Option<(Vec<BranchStep>, u32)> {
    let mut steps: Vec<&str> = text.split('.').collect();
    let call = number(steps.pop()?)?;
    let branch = steps.into_iter().map(|step| {
        let (call, index) = step.strip_suffix(']')?.split_once('[')?;
        Some(BranchStep { call: number(call)?, index: number(index)? })
    });
    Some((branch.collect::<Option<_>>()?, call))
}

/// Plain decimal only, so that a key has one spelling.
fn number(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_as_written() {
        for text in ["0:createSpace#0", "2[0].3:createSpace#0", "2[0].3[11].0:getSpaces#4"] {
            assert_eq!(text.parse::<Key>().unwrap().to_string(), text);
        }
        for text in ["", "1", "1:a", "1:#0", "x:a#0", "1[0]:a#0", "1[0.2:a#0", "01:a#0", "1:a#00", "+1:a#0"] {
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_call_reads_back_as_its_keys_begin() {
        let key: Key = "2[0].3[11].0:getSpaces#4".parse().unwrap();
        let call = serde_json::to_value(key.call_key()).unwrap();
        assert_eq!(call, "2[0].3[11].0");
        assert_eq!(serde_json::from_value::<CallKey>(call).unwrap(), key.call_key());
        for text in ["", "2[0]", "2.3", "a", "2[0].3:createSpace#0"] {
            assert!(serde_json::from_value::<CallKey>(text.into()).is_err(), "{text}");
        }
    }

    #[test]
    fn calls_are_in_the_order_of_the_program() {
        let order = ["0", "2", "2[0].0", "2[0].3", "2[0].3[1].7", "2[0].4", "2[1].0", "2[10].0", "3", "10"];
        let call = |text: &&str| format!("{text}:x#0").parse::<Key>().unwrap().call_key();
        let calls: Vec<CallKey> = order.iter().map(call).collect();
        assert!(calls.is_sorted() && calls.windows(2).all(|two| two[0] != two[1]));
    }

    #[test]
    fn what_a_change_cuts_off_is_the_call_with_its_branches_and_all_after_it() {
        let call = |text: &str| format!("{text}:x#0").parse::<Key>().unwrap().call_key();
        let is_from = |one: &str, from: &str| call(one).is_from(&call(from));
        assert!(is_from("2", "2") && is_from("2[0].1", "2") && is_from("3", "2") && is_from("3[1].0", "2"));
        assert!(is_from("2[0].4", "2[0].3") && is_from("3", "2[0].3") && is_from("2[0].3[1].0", "2[0].3"));
        assert!(!is_from("1", "2") && !is_from("2[1].9", "2[0].3") && !is_from("2", "2[0].3"));
        assert!(!is_from("2[0].2[5].9", "2[0].3") && !is_from("1[0].5", "2"));
    }

    #[test]
    fn order_goes_by_calls_and_leaves_siblings_alone() {
        let after = |key: &str, call: &str| {
            let call: Key = format!("{call}:x#0").parse().unwrap();
            format!("{key}:x#0").parse::<Key>().unwrap().is_after(&call.branch, call.call)
        };
        assert!(after("3", "2") && !after("2", "2") && !after("1", "2"));
        assert!(after("3", "2[0].9") && after("3[1].0", "2[0].9") && after("2[0].4", "2[0].3"));
        assert!(!after("2[1].4", "2[0].3") && !after("2[0].4", "2") && !after("2", "2[0].3"));
        assert!(after("2[0].4[1].0", "2[0].3") && !after("2[0].3[1].0", "2[0].3"));
    }
}
