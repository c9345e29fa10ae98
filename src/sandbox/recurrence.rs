//! When a schedule's moments come: recurrence rules (RFC 5545), cron expressions and intervals, as tasks have them.
//!
//! Rules that count (`COUNT`), pick (`BYSETPOS`, `BYDAY=1MO`, `BYWEEKNO`, `BYYEARDAY`) or go by the second are understood and
//! never come: nobody schedules reloads so.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, ToSpan as _};
use serde_json::Value;

/// No look goes over more days than these.
const DAYS: usize = 4_000;

/// A schedule that was understood.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    when: When,
    zone: TimeZone,
    start: Timestamp,
    end: Option<Timestamp>,
}

#[derive(Clone, Debug)]
enum When {
    Never,
    Every(SignedDuration),
    On(Rule),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Frequency {
    Minutely,
    Hourly,
    #[default]
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

/// A rule of days and of times in them. Lists that are empty say nothing.
#[derive(Clone, Debug, Default)]
struct Rule {
    frequency: Frequency,
    interval: i64,
    months: Vec<i8>,
    month_days: Vec<i8>,
    weekdays: Vec<Weekday>,
    /// Whether a day of the month or a weekday is enough, as cron has it.
    either: bool,
    hours: Vec<i8>,
    minutes: Vec<i8>,
    seconds: Vec<i8>,
}

impl Schedule {
    /// Reads a task's schedule; what it does not say of its beginning is `now`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(schedule: &Value, now: Timestamp) -> Result<Self, String> {
        let held = |field: &str| schedule[field].as_str().filter(|text| !text.is_empty());
        let zone = match held("timezone") {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| format!("`{name}` is no time zone"))?,
        };
        let at = |field: &str| held(field).map(|text| moment(text, &zone)).transpose();
        let (start, mut end) = (at("startDateTime")?, at("endDateTime")?);
        if end.is_some_and(|end| start.is_some_and(|start| end <= start) || end <= now) {
            return Err("endDateTime is not after startDateTime, or in the past".to_owned());
        }
        let cron = &schedule["cron"];
        let when = if let Some(interval) = schedule.as_str().or(held("interval")) {
            When::Every(every(interval)?)
        } else if let Some(rule) = held("recurrence") {
            let (when, until) = recurrence(rule, &zone)?;
            end = end.into_iter().chain(until).min();
            when
        } else if let Some(expression) = cron.as_str().or(cron["expression"].as_str()) {
            let until = cron["validUntil"].as_str().map(|text| moment(text, &zone)).transpose()?;
            end = end.into_iter().chain(until).min();
            When::On(from_cron(expression)?)
        } else {
            return Err("it has neither recurrence nor interval nor cron".to_owned());
        };
        Ok(Self { when, zone, start: start.unwrap_or(now), end })
    }

    /// Whether it came to its end.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.end.is_some_and(|end| end < now)
    }

    /// The first `most` moments after `after` and up to `to`.
    pub(super) fn first(&self, after: Timestamp, to: Timestamp, most: usize) -> Vec<Timestamp> {
        let (after, to) = self.within(after, to);
        let mut found = Vec::new();
        match &self.when {
            When::Never => {}
            When::Every(span) => {
                let mut number = (self.number(after, *span) + 1).max(1);
                while found.len() < most
                    && let Some(at) = self.numbered(number, *span).filter(|at| *at <= to)
                {
                    found.push(at);
                    number += 1;
                }
            }
            When::On(rule) => {
                let mut day = self.civil(after).date();
                let last = self.civil(to).date();
                for _ in 0..DAYS {
                    found.extend(self.moments(rule, day).into_iter().filter(|at| *at > after && *at <= to));
                    if day >= last || found.len() >= most {
                        break;
                    }
                    day = day.saturating_add(1.day());
                }
            }
        }
        found.truncate(most);
        found
    }

    /// The last `most` moments after `after` and up to `to`, in their order.
    pub(super) fn last(&self, after: Timestamp, to: Timestamp, most: usize) -> Vec<Timestamp> {
        let (after, to) = self.within(after, to);
        let mut found = Vec::new();
        match &self.when {
            When::Never => {}
            When::Every(span) => {
                let mut number = self.number(to, *span);
                while found.len() < most
                    && let Some(at) = self.numbered(number, *span).filter(|at| *at > after)
                {
                    found.push(at);
                    number -= 1;
                }
            }
            When::On(rule) => {
                let mut day = self.civil(to).date();
                let first = self.civil(after).date();
                for _ in 0..DAYS {
                    let moments = self.moments(rule, day).into_iter().rev();
                    found.extend(moments.filter(|at| *at > after && *at <= to));
                    if day <= first || found.len() >= most {
                        break;
                    }
                    day = day.saturating_sub(1.day());
                }
            }
        }
        found.truncate(most);
        found.reverse();
        found
    }

    fn within(&self, after: Timestamp, to: Timestamp) -> (Timestamp, Timestamp) {
        // The first moment may be the start itself.
        let before = self.start.saturating_sub(SignedDuration::from_nanos(1)).unwrap_or(self.start);
        (after.max(before), self.end.map_or(to, |end| end.min(to)))
    }

    fn civil(&self, at: Timestamp) -> DateTime {
        self.zone.to_datetime(at)
    }

    /// Which moment of an interval was the last by `at`; the first one is 1.
    fn number(&self, at: Timestamp, span: SignedDuration) -> i128 {
        at.duration_since(self.start).as_nanos().div_euclid(span.as_nanos())
    }

    fn numbered(&self, number: i128, span: SignedDuration) -> Option<Timestamp> {
        let since = i64::try_from(span.as_nanos().checked_mul(number)?).ok().filter(|_| number > 0)?;
        self.start.checked_add(SignedDuration::from_nanos(since)).ok()
    }

    /// The rule's moments of one day.
    fn moments(&self, rule: &Rule, day: Date) -> Vec<Timestamp> {
        let start = self.civil(self.start);
        if !rule.has_day(day, start.date()) {
            return Vec::new();
        }
        let all = |given: &[i8], frequency: Frequency, most: i8, own: i8| -> Vec<i8> {
            match (given.is_empty(), rule.frequency <= frequency) {
                (false, _) => given.to_vec(),
                (true, true) => (0..most).collect(),
                (true, false) => vec![own],
            }
        };
        let seconds = if rule.seconds.is_empty() { vec![start.second()] } else { rule.seconds.clone() };
        let mut found = Vec::new();
        for hour in all(&rule.hours, Frequency::Hourly, 24, start.hour()) {
            for minute in all(&rule.minutes, Frequency::Minutely, 60, start.minute()) {
                for second in &seconds {
                    let at = day.at(hour, minute, *second, 0);
                    if rule.has_time(at, start)
                        && let Ok(at) = self.zone.to_timestamp(at)
                    {
                        found.push(at);
                    }
                }
            }
        }
        found.sort();
        found
    }
}

impl Rule {
    fn has_day(&self, day: Date, start: Date) -> bool {
        let says = |list: &[i8], held: i8| list.is_empty() || list.contains(&held);
        let of_month = !self.month_days.is_empty()
            && self.month_days.iter().any(|wanted| match wanted {
                0.. => *wanted == day.day(),
                _ => day.days_in_month() + 1 + wanted == day.day(),
            });
        let of_week = self.weekdays.contains(&day.weekday());
        let by_day = match (self.month_days.is_empty(), self.weekdays.is_empty()) {
            (true, true) => match self.frequency {
                Frequency::Weekly => day.weekday() == start.weekday(),
                Frequency::Monthly | Frequency::Yearly => day.day() == start.day(),
                _ => true,
            },
            (false, true) => of_month,
            (true, false) => of_week,
            (false, false) if self.either => of_month || of_week,
            (false, false) => of_month && of_week,
        };
        let monday = |date: Date| date.saturating_sub(i64::from(date.weekday().to_monday_zero_offset()).days());
        let days = |from: Date, to: Date| i64::from(from.until(to).map(|span| span.get_days()).unwrap_or_default());
        let months = |date: Date| i64::from(date.year()) * 12 + i64::from(date.month());
        let apart = match self.frequency {
            Frequency::Minutely | Frequency::Hourly => 0,
            Frequency::Daily => days(start, day),
            Frequency::Weekly => days(monday(start), monday(day)) / 7,
            Frequency::Monthly => months(day) - months(start),
            Frequency::Yearly => i64::from(day.year()) - i64::from(start.year()),
        };
        let in_month = match (self.frequency, self.months.is_empty()) {
            (Frequency::Yearly, true) => day.month() == start.month(),
            _ => says(&self.months, day.month()),
        };
        by_day && in_month && apart % self.interval == 0
    }

    fn has_time(&self, at: DateTime, start: DateTime) -> bool {
        let hours = |at: DateTime| {
            let days = start.date().until(at.date()).map(|span| span.get_days()).unwrap_or_default();
            i64::from(days) * 24 + i64::from(at.hour())
        };
        let apart = match self.frequency {
            Frequency::Hourly => hours(at) - hours(start),
            Frequency::Minutely => (hours(at) - hours(start)) * 60 + i64::from(at.minute() - start.minute()),
            _ => 0,
        };
        apart % self.interval == 0
    }
}

/// A moment: with its offset, else in the schedule's time zone.
fn moment(text: &str, zone: &TimeZone) -> Result<Timestamp, String> {
    let local = || zone.to_timestamp(text.parse::<DateTime>()?);
    text.parse().or_else(|_| local()).map_err(|_| format!("`{text}` is no moment"))
}

fn every(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("`{text}` is no interval such as PT15M");
    let span: Span = text.rsplit('/').next().unwrap_or(text).parse().map_err(|_| wrong())?;
    let day = jiff::SpanRelativeTo::days_are_24_hours();
    let span = span.to_duration(day).map_err(|_| wrong())?;
    if span < SignedDuration::from_secs(1) { Err(wrong()) } else { Ok(span) }
}

fn recurrence(text: &str, zone: &TimeZone) -> Result<(When, Option<Timestamp>), String> {
    let rule = text.trim();
    let rule = rule.strip_prefix("RRULE:").unwrap_or(rule);
    let (mut read, mut until) = (Rule { interval: 1, ..Rule::default() }, None);
    let (mut is_simple, mut frequency) = (true, None);
    for part in rule.split(';').filter(|part| !part.is_empty()) {
        let wrong = || format!("`{part}` is no part of a recurrence");
        let (name, value) = part.split_once('=').ok_or_else(wrong)?;
        let numbers = |low: i8, high: i8| -> Result<Vec<i8>, String> {
            let numbers = value.split(',').map(|number| number.parse().ok());
            let numbers: Option<Vec<i8>> = numbers.collect();
            numbers.filter(|held| held.iter().all(|number| (low..=high).contains(number))).ok_or_else(wrong)
        };
        match name.to_ascii_uppercase().as_str() {
            "FREQ" => {
                frequency = Some(match value.to_ascii_uppercase().as_str() {
                    "SECONDLY" => {
                        is_simple = false;
                        Frequency::Minutely
                    }
                    "MINUTELY" => Frequency::Minutely,
                    "HOURLY" => Frequency::Hourly,
                    "DAILY" => Frequency::Daily,
                    "WEEKLY" => Frequency::Weekly,
                    "MONTHLY" => Frequency::Monthly,
                    "YEARLY" => Frequency::Yearly,
                    _ => return Err(wrong()),
                });
            }
            "INTERVAL" => {
                let number = value.parse().ok().filter(|number| (1..=100_000).contains(number));
                read.interval = number.ok_or_else(wrong)?;
            }
            "BYMONTH" => read.months = numbers(1, 12)?,
            "BYMONTHDAY" => read.month_days = numbers(-31, 31)?,
            "BYHOUR" => read.hours = numbers(0, 23)?,
            "BYMINUTE" => read.minutes = numbers(0, 59)?,
            "BYSECOND" => read.seconds = numbers(0, 59)?,
            "BYDAY" => {
                for day in value.split(',') {
                    let (number, name) = day.split_at_checked(day.len().saturating_sub(2)).ok_or_else(wrong)?;
                    read.weekdays.push(weekday(name).ok_or_else(wrong)?);
                    is_simple &= number.is_empty();
                }
            }
            "UNTIL" => {
                let plain: String = value.chars().filter(|sign| *sign != 'Z').collect();
                let at = DateTime::strptime("%Y%m%dT%H%M%S", &plain)
                    .or_else(|_| Date::strptime("%Y%m%d", &plain).map(|day| day.at(23, 59, 59, 0)));
                let zone = if value.ends_with('Z') { &TimeZone::UTC } else { zone };
                until = Some(at.and_then(|at| zone.to_timestamp(at)).map_err(|_| wrong())?);
            }
            "WKST" => {}
            "COUNT" | "BYSETPOS" | "BYWEEKNO" | "BYYEARDAY" => is_simple = false,
            _ => return Err(wrong()),
        }
    }
    read.frequency = frequency.ok_or_else(|| format!("`{text}` has no FREQ"))?;
    Ok((if is_simple { When::On(read) } else { When::Never }, until))
}

fn weekday(name: &str) -> Option<Weekday> {
    const NAMES: [&str; 7] = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];
    let place = NAMES.iter().position(|held| name.eq_ignore_ascii_case(held))?;
    Weekday::from_monday_zero_offset(i8::try_from(place).ok()?).ok()
}

/// Minute, hour, day of the month, month, day of the week.
fn from_cron(expression: &str) -> Result<Rule, String> {
    let wrong = || format!("`{expression}` is no cron expression of five fields");
    let fields: Vec<&str> = expression.split_whitespace().collect();
    let [minutes, hours, days, months, weekdays] = fields[..] else { return Err(wrong()) };
    let field = |text: &str, low: i8, high: i8| -> Option<Vec<i8>> {
        let mut found = Vec::new();
        for part in text.split(',') {
            let (range, step) =
                part.split_once('/').map_or((part, 1), |(range, step)| (range, step.parse().unwrap_or(0)));
            let (first, last) = match range.split_once('-') {
                _ if range == "*" => (low, high),
                Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
                None if step == 1 => (range.parse().ok()?, range.parse().ok()?),
                None => (range.parse().ok()?, high),
            };
            if step < 1 || first < low || last > high || first > last {
                return None;
            }
            found.extend((first..=last).step_by(step));
        }
        Some(found)
    };
    let some = |text: &str, low: i8, high: i8| if text == "*" { Some(Vec::new()) } else { field(text, low, high) };
    let weekdays = some(weekdays, 0, 7).ok_or_else(wrong)?;
    let weekdays = weekdays.into_iter().map(|day| Weekday::from_sunday_zero_offset(day % 7));
    Ok(Rule {
        frequency: Frequency::Daily,
        interval: 1,
        months: some(months, 1, 12).ok_or_else(wrong)?,
        month_days: some(days, 1, 31).ok_or_else(wrong)?,
        weekdays: weekdays.collect::<Result<_, _>>().map_err(|_| wrong())?,
        either: true,
        hours: field(hours, 0, 23).ok_or_else(wrong)?,
        minutes: field(minutes, 0, 59).ok_or_else(wrong)?,
        seconds: vec![0],
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn moments(schedule: &Value, to: &str) -> Vec<String> {
        // A Tuesday.
        let now = at("2026-11-24T08:10:20Z");
        let schedule = Schedule::read(schedule, now).unwrap();
        let (first, last) = (schedule.first(now, at(to), 4), schedule.last(now, at(to), 1_000));
        assert_eq!(last[..first.len()], first[..], "both ways see the same");
        first.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rules_cron_and_intervals_come_when_they_say() {
        let week = "2026-12-01T00:00:00Z";
        for (schedule, expected) in [
            (
                json!({"recurrence": "RRULE:FREQ=HOURLY;INTERVAL=1;BYMINUTE=0;BYSECOND=0"}),
                ["24T09:00:00Z", "24T10:00:00Z", "24T11:00:00Z", "24T12:00:00Z"],
            ),
            (
                json!({"recurrence": "FREQ=HOURLY;INTERVAL=6"}),
                ["24T14:10:20Z", "24T20:10:20Z", "25T02:10:20Z", "25T08:10:20Z"],
            ),
            (
                json!({"recurrence": "FREQ=DAILY;BYHOUR=3,18;BYMINUTE=30;BYSECOND=0", "timezone": "Europe/Zurich"}),
                ["24T17:30:00Z", "25T02:30:00Z", "25T17:30:00Z", "26T02:30:00Z"],
            ),
            (
                json!({"recurrence": "FREQ=DAILY;INTERVAL=1", "startDateTime": "2026-11-25T06:00:00Z"}),
                ["25T06:00:00Z", "26T06:00:00Z", "27T06:00:00Z", "28T06:00:00Z"],
            ),
            (
                json!({"recurrence": "FREQ=WEEKLY;BYDAY=TH,FR,SA,SU;BYHOUR=1;BYMINUTE=0;BYSECOND=0"}),
                ["26T01:00:00Z", "27T01:00:00Z", "28T01:00:00Z", "29T01:00:00Z"],
            ),
            (
                json!({"recurrence": "FREQ=MONTHLY;BYMONTHDAY=-1,-2,-3,-4;BYHOUR=1;BYMINUTE=0;BYSECOND=0"}),
                ["27T01:00:00Z", "28T01:00:00Z", "29T01:00:00Z", "30T01:00:00Z"],
            ),
            (json!({"cron": "*/30 8-9 * * 1-5"}), ["24T08:30:00Z", "24T09:00:00Z", "24T09:30:00Z", "25T08:00:00Z"]),
            (json!("PT36H"), ["25T20:10:20Z", "27T08:10:20Z", "28T20:10:20Z", "30T08:10:20Z"]),
        ] {
            let expected = expected.map(|day| format!("2026-11-{day}"));
            assert_eq!(moments(&schedule, week), expected, "{schedule}");
        }
        let ended = json!({"interval": "PT1H", "endDateTime": "2026-11-24T09:30:00Z"});
        assert_eq!(moments(&ended, week), ["2026-11-24T09:10:20Z"]);
        let counted = json!({"recurrence": "FREQ=DAILY;COUNT=2"});
        assert_eq!(moments(&counted, week), [""; 0]);
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for schedule in [
            json!({}),
            json!("every hour"),
            json!({"recurrence": "FREQ=OFTEN"}),
            json!({"recurrence": "INTERVAL=2"}),
            json!({"recurrence": "FREQ=DAILY;INTERVAL=0"}),
            json!({"recurrence": "FREQ=DAILY;BYHOUR=24"}),
            json!({"recurrence": "FREQ=DAILY;BYDAY=éa"}),
            json!({"recurrence": "FREQ=DAILY", "timezone": "Mars/Olympus"}),
            json!({"recurrence": "FREQ=DAILY", "endDateTime": "2026-11-23T00:00:00Z"}),
            json!({"cron": "0 0 * *"}),
            json!({"cron": "60 0 * * *"}),
            json!({"cron": {"expression": "*/0 * * * *"}}),
            json!({"interval": "PT0S"}),
        ] {
            assert!(Schedule::read(&schedule, at("2026-11-24T08:00:00Z")).is_err(), "{schedule}");
        }
    }
}
