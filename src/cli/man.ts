import page from "../../doc/moctl.8" with { type: "text" };

/** The manual page moctl(8), for man(1). */
export const MANUAL_PAGE: string = page;
