type Manifest = Record<string, unknown>;
export declare function withAddresses(
  manifest: Manifest,
  options?: { repository?: string; "security-contact"?: string },
): Manifest | undefined;
