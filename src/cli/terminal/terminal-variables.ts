/** By which programs inside know what the user's terminal can do. */
export function terminalVariables(
  variables: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const handed: Record<string, string> = {};
  for (const name of ['TERM', 'COLORTERM']) {
    const value = variables[name];
    if (value !== undefined && /^[A-Za-z0-9._+-]{1,64}$/.test(value) && value !== 'dumb')
      handed[name] = value;
  }
  return handed;
}
