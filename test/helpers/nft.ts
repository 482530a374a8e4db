import { spawnSync } from "node:child_process";

/** Why nothing can be filtered here; null when nft(8) is there. */
export const nftMissing: string | null = spawnSync("nft", ["--version"]).error ? "nft(8) is missing" : null;
