// What a script reads of its message, with real programs: delivered, failed for good, or unconfirmed; and one id for every attempt.
import { once } from "node:events";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Cli, cliWorld } from "../helpers/cli.ts";
