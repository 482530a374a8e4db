export declare const COMMAND: readonly [string, ...string[]];
export declare const whyNoScript: string | null;
export declare function commandLine(args: readonly string[]): [file: string, args: string[]];
