# install.mk: libbnrt.so, `make install` and `make uninstall`, packages. docs/install.md tells how to use them.
#
# PREFIX, LIBDIR and the others say where files will be used; DESTDIR is put before all of them. Nothing that is
# built depends on them: bnrt.pc and the CMake package are written while they are installed.

PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DATADIR    ?= $(PREFIX)/share
DOCDIR     ?= $(DATADIR)/doc/bnc
MANDIR     ?= $(DATADIR)/man
BASHDIR    ?= $(DATADIR)/bash-completion/completions
ZSHDIR     ?= $(DATADIR)/zsh/probe-functions
FISHDIR    ?= $(DATADIR)/fish/vendor_completions.d
CMAKEDIR   := $(LIBDIR)/cmake/bnc

# ---- the shared runtime ----

# The version is BN_VERSION. The SONAME is BN_ABI: a runtime refuses models of another, so it must not be loaded
# in place of theirs.
VERSION    := $(shell sed -n 's/^\#define BN_VERSION "\(.*\)"/\1/p' runtime-min/bn.h)
ABI        := $(shell sed -n 's/^\#define BN_ABI \([0-9]*\).*/\1/p' runtime-min/bn_model.h)
SO_OBJ     := $(filter-out %/cli.o,$(RT_OBJ))
SO         := libbnrt.so.$(VERSION)
INTERFACE  := bn.h bn_model.h bn_profile.h

$(B)/libbnrt.map: packaging/exports.sh $(SO_OBJ) $(INTERFACE:%=runtime-min/%)
	sh packaging/exports.sh BNRT_$(ABI) "$(CC)" $(SO_OBJ) >$@.tmp
	mv $@.tmp $@
$(B)/$(SO): $(B)/libbnrt.map $(SO_OBJ)
	$(CC) $(LDFLAGS) -shared -pthread -Wl,-soname,libbnrt.so.$(ABI) -Wl,--version-script=$< -Wl,-z,defs $(SO_OBJ) -lm -o $@

# ---- what bnc says of itself ----

COMPLETION := $(B)/share/bnc.bash $(B)/share/bnc.zsh $(B)/share/bnc.fish
$(B)/share/bnc.1: $(B)/bnc
	@mkdir -p $(@D)
	$(B)/bnc help --man >$@.tmp
	mv $@.tmp $@
$(COMPLETION): $(B)/share/bnc.%: $(B)/bnc
	@mkdir -p $(@D)
	$(B)/bnc help --completions=$* >$@.tmp
	mv $@.tmp $@

# The day of this version, unless the caller says another.
EPOCH      := $(or $(SOURCE_DATE_EPOCH),$(shell date -d "$$(sed -n 's/^ -- .*>  //p' debian/changelog | head -n 1)" +%s))
$(B)/share/bnc.spdx.json: packaging/spdx.sh $(B)/bnc
	@mkdir -p $(@D)
	sh packaging/spdx.sh $(VERSION) $(EPOCH) $(B)/bnc >$@.tmp
	mv $@.tmp $@

share: $(B)/share/bnc.1 $(COMPLETION) $(B)/share/bnc.spdx.json
all: share $(B)/$(SO)

# ---- installation ----

# What goes where: $(call ACTION,mode,file,place), for a file; $(call ACTION_link,text,place);
# $(call ACTION_made,file,place) for one that @WORDS@ are filled into.
define files
$(call $1,755,$(B)/bnc,$(BINDIR)/bnc)
$(call $1,644,$(B)/libbnrt.a,$(LIBDIR)/libbnrt.a)
$(call $1,644,$(B)/$(SO),$(LIBDIR)/$(SO))
$(call $1_link,$(SO),$(LIBDIR)/libbnrt.so.$(ABI))
$(call $1_link,libbnrt.so.$(ABI),$(LIBDIR)/libbnrt.so)
$(foreach h,$(INTERFACE),$(call $1,644,runtime-min/$h,$(INCLUDEDIR)/bnrt/$h))
$(call $1_made,packaging/bnrt.pc.in,$(LIBDIR)/pkgconfig/bnrt.pc)
$(call $1_made,packaging/bncConfig.cmake.in,$(CMAKEDIR)/bncConfig.cmake)
$(call $1_made,packaging/bncConfigVersion.cmake.in,$(CMAKEDIR)/bncConfigVersion.cmake)
$(call $1,644,$(B)/share/bnc.1,$(MANDIR)/man1/bnc.1)
$(call $1,644,$(B)/share/bnc.bash,$(BASHDIR)/bnc)
$(call $1,644,$(B)/share/bnc.zsh,$(ZSHDIR)/_bnc)
$(call $1,644,$(B)/share/bnc.fish,$(FISHDIR)/bnc.fish)
$(call $1,644,$(B)/share/bnc.spdx.json,$(DOCDIR)/bnc.spdx.json)
$(call $1,644,LICENSE,$(DOCDIR)/LICENSE)
endef
OWN_DIRS   = "$(DESTDIR)$(INCLUDEDIR)/bnrt" "$(DESTDIR)$(CMAKEDIR)" "$(DESTDIR)$(DOCDIR)"

define put
	install -D -m $1 $2 "$(DESTDIR)$3"

endef
define put_link
	ln -sf $1 "$(DESTDIR)$2"

endef
# Places in the CMake package are relative, so that an installed tree can be moved.
define put_made
	install -d "$(DESTDIR)$(dir $2)"
	sed -e 's|@VERSION@|$(VERSION)|g; s|@ABI@|$(ABI)|g; s|@PREFIX@|$(PREFIX)|g; s|@LIBDIR@|$(LIBDIR)|g' \
	    -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|g' -e "s|@UP@|$$(realpath -m --relative-to='$(CMAKEDIR)' '$(PREFIX)')|" \
	    -e "s|@BIN@|$$(realpath -m --relative-to='$(PREFIX)' '$(BINDIR)')|" \
	    -e "s|@INCLUDE@|$$(realpath -m --relative-to='$(PREFIX)' '$(INCLUDEDIR)')|" $1 >"$(DESTDIR)$2"
	chmod 644 "$(DESTDIR)$2"

endef
define drop
	rm -f "$(DESTDIR)$3"

endef
define drop_link
	rm -f "$(DESTDIR)$2"

endef
drop_made = $(drop_link)

.PHONY: share install uninstall dist deb
install: all
	$(call files,put)
uninstall:
	$(call files,drop)
	-rmdir --ignore-fail-on-non-empty $(OWN_DIRS) 2>/dev/null

# ---- packages ----

# The files that git knows, as they are here; the same bytes wherever it is made.
dist:
	@mkdir -p $(B)
	git ls-files -z | tar --null -T - --sort=name --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw,a-s \
	    --mtime=@$(EPOCH) --transform='s,^,bnc-$(VERSION)/,S' -c | gzip -9n >$(B)/bnc-$(VERSION).tar.gz
# Packages for Debian, in build/deb; what that needs: sh tools/packages.sh install package
deb: dist
	rm -rf $(B)/deb
	mkdir -p $(B)/deb
	tar -xzf $(B)/bnc-$(VERSION).tar.gz -C $(B)/deb
	cd $(B)/deb/bnc-$(VERSION) && env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL dpkg-buildpackage -us -uc
	cd $(B)/deb && lintian --fail-on error,warning *.changes
