/** Line icons of 16, drawn on one grid. Status shapes live in status.tsx. */
import type { ReactNode } from "react";

const shapes = {
  search: (
    <>
      <circle cx="7" cy="7" r="4.25" />
      <path d="M10.2 10.2 13.5 13.5" />
    </>
  ),
  play: (
    <>
      <path d="M4.75 3.2v9.6L12.5 8z" />
    </>
  ),
  pause: (
    <>
      <path d="M5.5 3.5v9M10.5 3.5v9" />
    </>
  ),
  x: (
    <>
      <path d="M4 4l8 8M12 4l-8 8" />
    </>
  ),
  check: (
    <>
      <path d="M3 8.5 6.5 12 13 4.5" />
    </>
  ),
  cd: (
    <>
      <path d="M4 6l4 4 4-4" />
    </>
  ),
  cr: (
    <>
      <path d="M6 4l4 4-4 4" />
    </>
  ),
  download: (
    <>
      <path d="M8 2.5v7.25M4.75 6.75 8 10l3.25-3.25M2.75 11v2.25h10.5V11" />
    </>
  ),
  upload: (
    <>
      <path d="M8 10V2.75M4.75 5.75 8 2.5l3.25 3.25M2.75 11v2.25h10.5V11" />
    </>
  ),
  cl: (
    <>
      <path d="M10 4 6 8l4 4" />
    </>
  ),
  plus: (
    <>
      <path d="M8 3.5v9M3.5 8h9" />
    </>
  ),
  minus: (
    <>
      <path d="M3.5 8h9" />
    </>
  ),
  fit: (
    <>
      <path d="M2.75 6V2.75H6M10 2.75h3.25V6M13.25 10v3.25H10M6 13.25H2.75V10" />
    </>
  ),
  tidy: (
    <>
      <rect x="2.5" y="2.5" width="4" height="4" rx="1" />
      <rect x="9.5" y="9.5" width="4" height="4" rx="1" />
      <path d="M6.5 4.5h3a2 2 0 0 1 2 2v3" />
    </>
  ),
  moon: (
    <>
      <path d="M13 9.6A5.5 5.5 0 1 1 6.4 3a4.4 4.4 0 0 0 6.6 6.6z" />
    </>
  ),
  sun: (
    <>
      <circle cx="8" cy="8" r="2.75" />
      <path d="M8 1.5v1.25M8 13.25v1.25M1.5 8h1.25M13.25 8h1.25M3.4 3.4l.9.9M11.7 11.7l.9.9M12.6 3.4l-.9.9M4.3 11.7l-.9.9" />
    </>
  ),
  help: (
    <>
      <circle cx="8" cy="8" r="5.75" />
      <path d="M6.3 6.3a1.75 1.75 0 1 1 2.6 1.6c-.6.35-.9.6-.9 1.2M8 11.2v.1" />
    </>
  ),
  link: (
    <>
      <path d="M6.5 3.25H3.25v9.5h9.5V9.5M9 3h4v4M12.75 3.25 7.5 8.5" />
    </>
  ),
  copy: (
    <>
      <rect x="5.5" y="5.5" width="7.75" height="7.75" rx="1.5" />
      <path d="M10.5 3.2V3A.9.9 0 0 0 9.6 2.75H3.75a1 1 0 0 0-1 1V9.6c0 .5.2.9.6.9" />
    </>
  ),
  user: (
    <>
      <circle cx="8" cy="5.5" r="2.5" />
      <path d="M3 13.25c.5-2.6 2.4-4 5-4s4.5 1.4 5 4" />
    </>
  ),
  people: (
    <>
      <circle cx="6" cy="5.5" r="2.25" />
      <path d="M1.75 13c.4-2.4 2-3.6 4.25-3.6s3.85 1.2 4.25 3.6M10.2 3.5a2.25 2.25 0 0 1 0 4.1M12 9.9c1.3.5 2 1.6 2.25 3.1" />
    </>
  ),
  route: (
    <>
      <path d="M1.75 8H5c3 0 3-4.5 6-4.5h2.5M5 8c3 0 3 4.5 6 4.5h2.5M11.75 1.75 13.5 3.5l-1.75 1.75" />
    </>
  ),
  agent: (
    <>
      <rect x="2.75" y="4.75" width="10.5" height="8" rx="2.25" />
      <path d="M8 4.75V2.5M6 8.25v1M10 8.25v1M1.25 8.5v1M14.75 8.5v1" />
    </>
  ),
  mail: (
    <>
      <rect x="2" y="3.5" width="12" height="9" rx="1.5" />
      <path d="M2.5 4.5 8 8.75l5.5-4.25" />
    </>
  ),
  db: (
    <>
      <ellipse cx="8" cy="4" rx="4.75" ry="1.75" />
      <path d="M3.25 4v8c0 1 2.1 1.75 4.75 1.75S12.75 13 12.75 12V4M3.25 8c0 1 2.1 1.75 4.75 1.75S12.75 9 12.75 8" />
    </>
  ),
  globe: (
    <>
      <circle cx="8" cy="8" r="5.75" />
      <path d="M2.25 8h11.5M8 2.25c3.2 3.4 3.2 8.1 0 11.5-3.2-3.4-3.2-8.1 0-11.5z" />
    </>
  ),
  code: (
    <>
      <path d="M5.5 4.5 2 8l3.5 3.5M10.5 4.5 14 8l-3.5 3.5" />
    </>
  ),
  flag: (
    <>
      <path d="M4 13.5v-11M4 3h7.5L10 5.75l1.5 2.75H4" />
    </>
  ),
  end: (
    <>
      <circle cx="8" cy="8" r="5.5" />
      <rect x="6" y="6" width="4" height="4" rx=".6" fill="currentColor" />
    </>
  ),
  fork: (
    <>
      <circle cx="4" cy="3.5" r="1.5" />
      <circle cx="12" cy="3.5" r="1.5" />
      <circle cx="8" cy="12.5" r="1.5" />
      <path d="M4 5v.75a2.25 2.25 0 0 0 2.25 2.25h3.5A2.25 2.25 0 0 0 12 5.75V5M8 8v3" />
    </>
  ),
  tool: (
    <>
      <path d="M13 4.4 10.9 6.4 9.5 5l2-2.1A3.4 3.4 0 0 0 7 7L2.75 11.2a1.45 1.45 0 0 0 2.05 2.05L9 9a3.4 3.4 0 0 0 4-4.6z" />
    </>
  ),
  doc: (
    <>
      <path d="M4 2.25h5.25L12.5 5.5v8.25H4zM9 2.5v3.25h3.25M6 8.5h4.5M6 11h3" />
    </>
  ),
  retry: (
    <>
      <path d="M13 8a5 5 0 1 1-1.5-3.55M11.75 1.75v3h-3" />
    </>
  ),
  filter: (
    <>
      <path d="M2.5 4h11M4.5 8h7M6.5 12h3" />
    </>
  ),
  undo: (
    <>
      <path d="M5.5 3 2.75 5.75 5.5 8.5M3 5.75h6a3.75 3.75 0 0 1 0 7.5H5.5" />
    </>
  ),
  redo: (
    <>
      <path d="M10.5 3l2.75 2.75L10.5 8.5M13 5.75H7a3.75 3.75 0 0 0 0 7.5h3.5" />
    </>
  ),
  grip: (
    <>
      <path d="M6 3.5v.01M10 3.5v.01M6 8v.01M10 8v.01M6 12.5v.01M10 12.5v.01" strokeWidth="2" />
    </>
  ),
  dots: (
    <>
      <path d="M3.5 8v.01M8 8v.01M12.5 8v.01" strokeWidth="2" />
    </>
  ),
  info: (
    <>
      <circle cx="8" cy="8" r="5.75" />
      <path d="M8 7.5v3.5M8 5v.1" />
    </>
  ),
  warn: (
    <>
      <path d="M8 2.5 14 13H2zM8 6.5v3M8 11.3v.1" />
    </>
  ),
  split: (
    <>
      <path d="M8 2v4M8 6c0 3-4.5 3-4.5 6v1.5M8 6c0 3 4.5 3 4.5 6v1.5" />
    </>
  ),
  merge: (
    <>
      <path d="M8 14v-4M8 10C8 7 3.5 7 3.5 4V2.5M8 10c0-3 4.5-3 4.5-6V2.5" />
    </>
  ),
  clock: (
    <>
      <circle cx="8" cy="8" r="5.75" />
      <path d="M8 4.75V8l2.25 1.5" />
    </>
  ),
  hand: (
    <>
      <path d="M3 9.5 5.5 12.5h5.5l2-4.5" />
      <circle cx="8" cy="5" r="2.5" />
    </>
  ),
  approve: (
    <>
      <path d="M2.25 13.25c.4-2.5 2-3.9 4.4-4" />
      <circle cx="7" cy="5.25" r="2.5" />
      <path d="M9.5 11.5l1.75 1.75L14.5 9.5" />
    </>
  ),
  coin: (
    <>
      <circle cx="8" cy="8" r="5.75" />
      <path d="M9.75 6.2C9.4 5.5 8.8 5.3 8 5.3c-1 0-1.75.5-1.75 1.3 0 1.8 3.6.9 3.6 2.8 0 .8-.8 1.35-1.85 1.35-.9 0-1.6-.35-1.9-1.05M8 4.3v1M8 10.7v1" />
    </>
  ),
  gear: (
    <>
      <circle cx="8" cy="8" r="2" />
      <path d="M8 1.75v1.75M8 12.5v1.75M1.75 8H3.5M12.5 8h1.75M3.6 3.6l1.2 1.2M11.2 11.2l1.2 1.2M12.4 3.6l-1.2 1.2M4.8 11.2l-1.2 1.2" />
    </>
  ),
  bolt: (
    <>
      <path d="M9 1.75 3.5 9H8l-1 5.25L12.5 7H8z" />
    </>
  ),
  photo: (
    <>
      <rect x="2" y="3" width="12" height="10" rx="1.5" />
      <path d="M2.5 11.5 6 8l2.5 2.5L10.5 9l3 3" />
      <circle cx="10.5" cy="6" r=".9" />
    </>
  ),
  pin: (
    <>
      <path d="M5.5 2.25h5M6.5 2.25v4L4.75 9h6.5L9.5 6.25v-4M8 9v4.75" />
    </>
  ),
  flow: (
    <>
      <rect x="2" y="2.5" width="4.5" height="4" rx="1" />
      <rect x="9.5" y="9.5" width="4.5" height="4" rx="1" />
      <path d="M4.25 6.5v3a2 2 0 0 0 2 2H9.5" />
    </>
  ),
  inbox: (
    <>
      <path d="M2.25 9 4 3.25h8L13.75 9v3.75H2.25zM2.5 9h3l1 1.75h3l1-1.75h3" />
    </>
  ),
  list: (
    <>
      <path d="M5.5 4h8M5.5 8h8M5.5 12h8M2.5 4v.01M2.5 8v.01M2.5 12v.01" />
    </>
  ),
  grid: (
    <>
      <rect x="2.5" y="2.5" width="4.5" height="4.5" rx="1" />
      <rect x="9" y="2.5" width="4.5" height="4.5" rx="1" />
      <rect x="2.5" y="9" width="4.5" height="4.5" rx="1" />
      <rect x="9" y="9" width="4.5" height="4.5" rx="1" />
    </>
  ),
  menu: (
    <>
      <path d="M2.5 4.5h11M2.5 8h11M2.5 11.5h11" />
    </>
  ),
  lock: (
    <>
      <rect x="3.25" y="7" width="9.5" height="6.5" rx="1.5" />
      <path d="M5.25 7V5a2.75 2.75 0 0 1 5.5 0v2" />
    </>
  ),
  up: (
    <>
      <path d="M8 13V3.5M4 7.5l4-4 4 4" />
    </>
  ),
  arr: (
    <>
      <path d="M2.5 8h10.5M9 4l4 4-4 4" />
    </>
  ),
  logo: (
    <>
      <path d="M2 11.5h3.2c3.4 0 2.8-7 6.3-7H14" strokeWidth="2" />
      <path d="M2 11.5h12" strokeWidth="2" opacity=".35" />
      <circle cx="2.6" cy="11.5" r="1.9" fill="currentColor" stroke="none" />
      <path d="M12 2l2.4 2.5L12 7" strokeWidth="2" />
    </>
  ),
} satisfies Record<string, ReactNode>;

export type IconName = keyof typeof shapes;

export function isIconName(name: string): name is IconName {
  return name in shapes;
}

/** A decorative icon; what it means stands beside it or in the label of its button. */
export function Icon({ name, size = 16, className }: { name: IconName; size?: number; className?: string }) {
  return (
    <svg
      className={className ? `ic ${className}` : "ic"}
      width={size}
      height={size}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.5"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
    >
      {shapes[name]}
    </svg>
  );
}
