dnl SPDX-License-Identifier: LGPL-2.1-or-later
dnl VP_COMPILE_FLAGS: every flag is probed, so old compilers still build.
AC_DEFUN([VP_COMPILE_FLAGS], [
  VP_CFLAGS=
  for vp_flag in -Wall -Wextra -Wshadow -Wvla -Walloca -Wundef -Wformat=2 \
    -Wformat-signedness -Wstrict-prototypes -Wmissing-prototypes \
    -Wold-style-definition -Wpointer-arith -Wwrite-strings \
    -Wcast-align=strict -Wswitch-enum -Wimplicit-fallthrough=5 \
    -Wduplicated-cond -Wduplicated-branches -Wlogical-op \
    -Wnull-dereference -Wconversion -Wno-sign-conversion \
    -Wno-unused-parameter -Wno-missing-field-initializers \
    -fno-common -fstack-protector-strong -fstack-clash-protection \
    -fcf-protection -ftrivial-auto-var-init=zero
  do
    AX_CHECK_COMPILE_FLAG([$vp_flag], [VP_CFLAGS="$VP_CFLAGS $vp_flag"], [],
                          [-Werror])
  done
  AS_IF([test "x$enable_werror" = xyes], [VP_CFLAGS="$VP_CFLAGS -Werror"])
  AC_SUBST([VP_CFLAGS])
])
