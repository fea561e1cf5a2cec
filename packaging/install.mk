# make install      puts what `make build` built, the units and the group in place
# make uninstall    undoes what weftd changed, then removes them; state stays, but for PURGE=1

PREFIX ?= /usr/local
DESTDIR ?=
PURGE ?=
FORCE ?=

install uninstall:
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' PURGE='$(PURGE)' FORCE='$(FORCE)' packaging/install.sh $@
