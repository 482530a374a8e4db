// Sentences that both views for people use.
import type { PeerEvent, ServerEvent, TalkConnection } from "../../client/types.ts";
import { escapeControls } from "../escape-controls.ts";

export function welcome({ name, server }: TalkConnection): string {
  return `you are ${escapeControls(name)} on ${server}; Help says what you can type`;
}

export function peerText({ name, state }: PeerEvent): string {
  return `${escapeControls(name)} has ${state}`;
}

const SERVER_TEXTS: Readonly<Record<ServerEvent["state"], string>> = {
  lost: "the lookup server is gone; conversations go on, trying to get back",
  back: "the lookup server is back",
  closing: "the lookup server is shutting down; conversations go on",
};

export function serverText({ state }: ServerEvent): string {
  return SERVER_TEXTS[state];
}
