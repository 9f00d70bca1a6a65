//! Charging sessions, as rows and as OCPP messages.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use fastrand::Rng;
use rusqlite::{Connection, Params};
use serde_json::{Value, json};

type Time = DateTime<Utc>;

/// Records a session: the station says that it is there, a car comes, is measured every five minutes, and leaves.
pub fn session(db: &Connection, rng: &mut Rng, start: Time, samples: i64) -> rusqlite::Result<()> {
    let (connector, max_w) = (rng.i64(1..=96), rng.i64(7_000..22_000));
    let (station, number) = ((connector + 1) / 2, 2 - connector % 2);
    let tag = format!("DE-CHG-C{:05}", rng.u32(..4000));
    let mut wh = start.timestamp() / 30; // a meter only counts up
    let id =
        run(db, "INSERT INTO sessions VALUES (NULL, ?, ?, ?, ?, NULL, NULL)", (connector, &tag, stamp(start), wh))?;
    let begin = json!({"connectorId": number, "idTag": tag, "meterStart": wh, "timestamp": stamp(start)});
    greet(db, rng, station, start)?;
    call(db, rng, station, start, "StartTransaction", &begin)?;
    call(db, rng, station, start, "StatusNotification", &status(number, "Charging"))?;
    let time = |sample| start + TimeDelta::minutes(5 * sample);
    for sample in 1..=samples {
        let at = time(sample) + TimeDelta::milliseconds(rng.i64(0..9_000));
        let (w, volts) = (max_w - rng.i64(0..2_000), f64::from(rng.u16(22_500..23_800)) / 100.0);
        wh += w / 12;
        run(db, "INSERT INTO meter_values VALUES (NULL, ?, ?, ?, ?, ?)", (id, stamp(at), wh, w, volts))?;
        call(db, rng, station, at, "MeterValues", &meter_values(number, id, at, wh, w))?;
    }
    if rng.u8(..) < 4 {
        return Ok(()); // The station lost its line.
    }
    let end = time(samples + 1);
    run(db, "UPDATE sessions SET stopped_at = ?, stop_wh = ? WHERE id = ?", (stamp(end), wh, id))?;
    let stop = json!({"transactionId": id, "meterStop": wh, "timestamp": stamp(end), "reason": "EVDisconnected"});
    call(db, rng, station, end, "StopTransaction", &stop)?;
    call(db, rng, station, end, "StatusNotification", &status(number, "Available"))
}

/// A station says that it is there; sometimes that it was restarted.
fn greet(db: &Connection, rng: &mut Rng, station: i64, at: Time) -> rusqlite::Result<()> {
    let boot = json!({"chargePointVendor": "Voltwerk", "chargePointModel": "Duo 22"});
    let (name, args) = if rng.u8(..) < 8 { ("BootNotification", boot) } else { ("Heartbeat", json!({})) };
    call(db, rng, station, at, name, &args)
}

fn status(connector: i64, status: &str) -> Value {
    json!({"connectorId": connector, "errorCode": "NoError", "status": status})
}

/// The message of a station with its meter's values.
fn meter_values(connector: i64, id: i64, at: Time, wh: i64, w: i64) -> Value {
    let values = [("Energy.Active.Import.Register", "Wh", wh), ("Power.Active.Import", "W", w)]
        .map(|(measurand, unit, value)| json!({"measurand": measurand, "unit": unit, "value": value.to_string()}));
    let values = json!([{"timestamp": stamp(at), "sampledValue": values}]);
    json!({"connectorId": connector, "transactionId": id, "meterValue": values})
}

/// An OCPP call is `[2, id, action, payload]` (OCPP-J 1.6, section 4.2.1).
fn call(db: &Connection, rng: &mut Rng, from: i64, at: Time, name: &str, args: &Value) -> rusqlite::Result<()> {
    let message = format!(r#"[2,"{:032x}","{name}",{args}]"#, rng.u128(..));
    let received = stamp(at + TimeDelta::milliseconds(rng.i64(40..4_000)));
    run(db, "INSERT INTO ocpp_messages VALUES (NULL, ?, ?, ?)", (from, received, message)).map(drop)
}

/// Gives the number of the row.
pub fn run(db: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<i64> {
    db.prepare_cached(sql)?.execute(params)?;
    Ok(db.last_insert_rowid())
}

/// A time as the API writes it.
pub fn stamp(at: Time) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
