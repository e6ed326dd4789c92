/**
 * One line of the bench's table. `figure` is what was measured, with its unit; `peer` is what it is held
 * against, measured in the same run; `ratio` is figure to peer, null where there is no peer.
 */
export type Row = {
  readonly what: string;
  readonly figure: string;
  readonly peer: string;
  readonly ratio: number | null;
  readonly note?: string;
};

/** One table for people, one array for programs. */
export function printRows(rows: readonly Row[], asJson: boolean): void {
  if (asJson) console.log(JSON.stringify(rows, null, 2));
  else
    console.table(
      rows.map(({ ratio, ...row }) => ({ ...row, ratio: ratio === null ? '' : ratio.toFixed(2) })),
    );
}
