export declare const COMMAND: readonly [string, ...string[]];
export declare function commandLine(args: readonly string[]): [file: string, args: string[]];
