// What was said, as lines for people: each with its time, below its day.
import type { HistoryRecord } from "../../client/types.ts";
import { messageLines, outgoingLines } from "../format.ts";
import type { Paint } from "../style.ts";
import { DayClock } from "./day-clock.ts";
import type { Marks } from "./marks.ts";

const LONG_AGO = Number.NEGATIVE_INFINITY; // the first day is told

export interface PastStyle {
  readonly timeFormat: string;
  readonly marks: Marks;
  readonly paint: Paint;
}

export class PastLines {
  readonly #style: PastStyle;
  readonly #clock: DayClock;

  constructor(style: PastStyle) {
    this.#style = style;
    this.#clock = new DayClock(style.timeFormat, LONG_AGO);
  }

  /** The lines of the next record. */
  of(record: HistoryRecord): string[] {
    const { marks, paint } = this.#style;
    const { at, direction, state, with: name, room, text } = record;
    const stamp = this.#clock.stamp(at);
    const fate = state === "failed" ? paint("red", `${marks.failed} `) : "";
    const waits = state === "kept" ? paint("dim", `${marks.pending} `) : "";
    const doubt = state === "unconfirmed" ? paint("yellow", `${marks.unconfirmed} `) : "";
    const mark = `${paint("dim", stamp)}${fate}${waits}${doubt}`;
    const lines =
      direction === "in"
        ? messageLines({ from: name, text, room, verified: true }, paint, stamp)
        : outgoingLines({ to: name, text }, mark, marks, paint);
    return [...this.turn(at), ...lines];
  }

  /** The day's line, if it is another one than that of the record before. */
  turn(at: number): string[] {
    const day = this.#clock.turn(at);
    return day === null ? [] : [this.#style.paint("dim", `* ${day}`)];
  }
}

export function pastLines(records: readonly HistoryRecord[], style: PastStyle): string[] {
  const lines = new PastLines(style);
  return records.flatMap((record) => lines.of(record));
}
