/** Structured lines for operators, as pino writes them. What is logged holds no secret and no user's data. */
export type Logger = Readonly<
  Record<'debug' | 'info' | 'warn' | 'error', (facts: Record<string, unknown>, message: string) => void>
>;
